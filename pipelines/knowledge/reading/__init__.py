"""Reading: one module a family of formats, and a worker process in which they run."""

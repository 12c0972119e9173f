"""Other generators at the same task; each runs in an environment of its own."""

"""How a remote teacher writes each kind of example."""

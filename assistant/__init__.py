"""Surfaces: the command line, the agent and the terminal. The work is done in `pipelines`."""

__version__ = "0.1.0"

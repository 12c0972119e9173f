"""The agent: a model of one's own endpoint that works through the operations."""

"""What the HTML page about a dataset shows."""

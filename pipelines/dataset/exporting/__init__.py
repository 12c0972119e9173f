"""What goes with an export: the dataset card and its metadata."""

"""The formats in which datasets leave: what a row holds, and how rows are written and read."""

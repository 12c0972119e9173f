"""What people decided about records, and rules that decide many."""

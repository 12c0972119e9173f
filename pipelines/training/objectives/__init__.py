"""What a run can minimise, one file a family of objectives."""

"""What came out of a run, as data."""

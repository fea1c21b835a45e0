"""A model as a whole: read, put right, saved."""

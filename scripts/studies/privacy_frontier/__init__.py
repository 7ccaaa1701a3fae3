"""Privacy against accuracy, with attacks on every row."""

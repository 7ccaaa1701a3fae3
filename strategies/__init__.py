"""Aggregation strategies, one file each; a file's name is the strategy's name."""

"""The studies whose results are published under docs/results."""

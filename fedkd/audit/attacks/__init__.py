"""The attacks that come with fedkd, one a file."""

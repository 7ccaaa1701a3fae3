"""Pages in a browser: what they look like, and what it has to complain of."""

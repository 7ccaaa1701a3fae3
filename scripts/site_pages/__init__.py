"""What the documentation's site has besides the pages in docs/."""

"""Every shipped algorithm on the same data: what it reaches as shipped, or as tuned with the same budget."""

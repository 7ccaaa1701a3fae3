"""The analyses that ``fedkd analyse`` makes, one a file."""

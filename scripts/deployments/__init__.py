"""Flower processes that scripts start and end: a SuperLink, SuperNodes, and a run on them."""

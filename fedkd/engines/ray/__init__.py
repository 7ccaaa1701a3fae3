"""Clients in parallel on Ray, by Flower's simulation."""

"""Differential privacy of all data of a client, over the number of clients."""

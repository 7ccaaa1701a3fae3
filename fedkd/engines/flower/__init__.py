"""Clients behind any Flower grid."""

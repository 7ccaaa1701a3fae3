"""Carrying experiments out: from a configuration to a run directory."""

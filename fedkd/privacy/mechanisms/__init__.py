"""Logit mechanisms, one file each."""

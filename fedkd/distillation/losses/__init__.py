"""Losses of distillation, one file each; a file's name is the loss's name."""

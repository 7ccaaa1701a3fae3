"""Codecs, one file each; a file's name is the codec's name."""

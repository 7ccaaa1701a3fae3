"""Client behaviours, one file each; a file's name is the behaviour's name."""

"""Temperature schedules, one file each; a file's name is the schedule's name."""

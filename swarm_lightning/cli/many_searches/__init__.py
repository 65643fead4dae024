"""Many searches by one command: a sweep over settings, and several tasks with one table of all."""

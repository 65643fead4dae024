"""Runs on the disk: their folders and locks, checkpoint files and their checks, and what can be read from a run."""

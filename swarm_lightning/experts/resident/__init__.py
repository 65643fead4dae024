"""The model that stays in memory: the base as it is loaded, and what makes particles of it."""

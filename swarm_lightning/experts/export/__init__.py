"""Experts, mixtures and systems written to folders of their own, with a card, and read again."""

"""Tokenizers of a base and of experts: their files, what they must share, and texts over several vocabularies."""

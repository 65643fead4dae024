"""Particles x examples -> score table: generation, likelihoods, the evaluator that uses both, and the vote."""

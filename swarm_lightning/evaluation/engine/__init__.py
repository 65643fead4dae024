"""The resident model asked many rows at a time: batches, generation, likelihoods, and what is computed once."""

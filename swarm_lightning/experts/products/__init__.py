"""Experts as products B A: their sums by coefficients, the one adapter they make, and how a model runs them."""

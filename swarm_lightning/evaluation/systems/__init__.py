"""Several models that answer each other along a graph."""

"""Tests of the particle swarm; a package, so that they can import their reference implementation."""

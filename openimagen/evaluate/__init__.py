"""Measuring a model: what its pictures look like to a network that has seen the world."""

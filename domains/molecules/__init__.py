"""Molecules as graphs: generation, objectives and measures."""

"""Generic graphs: generation and measures."""

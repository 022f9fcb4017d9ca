"""Discrete diffusion in continuous time: categorical paths, their bounds and their samplers."""

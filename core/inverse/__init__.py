"""Inverse problems: x0 from y = A x0 + n, with a denoiser for the prior."""

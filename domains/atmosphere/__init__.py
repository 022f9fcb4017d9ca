"""The atmosphere: fine fields from coarse ones and from observations, with the ensemble of what they may be."""

"""Magnetic resonance imaging: operators, sensitivities, reconstruction."""

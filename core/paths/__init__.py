"""Gaussian paths x_t = a(t) x0 + b(t) y + s(t) z: the coefficients, their log-SNR and what follows from them."""

from ornstein.core.paths.base import Coefficients, Path, expand, time
from ornstein.core.paths.conditional import (
    BBED,
    OUVE,
    BrownianBridge,
    MeanReverting,
    SchroedingerBridgeVE,
    SchroedingerBridgeVP,
    TrigonometricBridge,
)
from ornstein.core.paths.standard import EDM, Cosine, RectifiedFlow, VarianceExploding, VariancePreserving

__all__ = [
    "BBED",
    "EDM",
    "OUVE",
    "BrownianBridge",
    "Coefficients",
    "Cosine",
    "MeanReverting",
    "Path",
    "RectifiedFlow",
    "SchroedingerBridgeVE",
    "SchroedingerBridgeVP",
    "TrigonometricBridge",
    "VarianceExploding",
    "VariancePreserving",
    "expand",
    "time",
]

"""Gaussian paths x_t = a(t) x0 + b(t) y + s(t) z: the coefficients, their log-SNR and what follows from them."""

from ornstein.core.paths.base import Coefficients, DriftingPath, Path, expand, time
from ornstein.core.paths.conditional import (
    BBED,
    OUVE,
    BrownianBridge,
    MeanReverting,
    SchroedingerBridgeVE,
    SchroedingerBridgeVP,
    TrigonometricBridge,
)
from ornstein.core.paths.poisson import PFGMPP
from ornstein.core.paths.residual import RDDM, Resfusion, ResShift
from ornstein.core.paths.standard import (
    EDM,
    Cosine,
    RectifiedFlow,
    Shifted,
    SquareRoot,
    VarianceExploding,
    VariancePreserving,
)

__all__ = [
    "BBED",
    "EDM",
    "OUVE",
    "PFGMPP",
    "RDDM",
    "BrownianBridge",
    "Coefficients",
    "Cosine",
    "DriftingPath",
    "MeanReverting",
    "Path",
    "RectifiedFlow",
    "ResShift",
    "Resfusion",
    "SchroedingerBridgeVE",
    "SchroedingerBridgeVP",
    "Shifted",
    "SquareRoot",
    "TrigonometricBridge",
    "VarianceExploding",
    "VariancePreserving",
    "expand",
    "time",
]

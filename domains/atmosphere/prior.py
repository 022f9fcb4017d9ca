"""The prior over fine fields: spectra, regions with a past of their own, terrain, and a network for what they leave."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.checkpoints import load_model, save_model
from ornstein.core.errors import ModelError
from ornstein.core.networks.unet import UNet
from ornstein.core.paths import EDM
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.background import (
    Background,
    Region,
    adaptive,
    find_region,
    stationary,
    stationary_gaussian,
)
from ornstein.domains.atmosphere.covariances import Spectrum
from ornstein.domains.atmosphere.operator import Coarsening, interpolation

PLAIN = 8
"""Feature planes beside those of the variables: terrain height, land, hour (2), day of the year (2), latitude, cell size."""


@dataclass(frozen=True)
class Calibration:
    """What validation days say of a variable, in a region or anywhere.

    Args:
        strength: of the network, in [0, 1].
        inflation: factor of the background's covariance.
        spread: factor of the members' deviations from their mean.
        memory: of the members' noise in hours.
        adapt: exponent with which a region's deviation follows the day's coarse anomalies.
    """

    strength: float = 1.0
    inflation: float = 1.0
    spread: float = 1.0
    memory: float = 3.0
    adapt: float = 0.25


@dataclass(frozen=True, eq=False)
class Prior:
    """All that is known of fine fields.

    Args:
        spectra: by variable; these are the variables of the model's card.
        regions: places with a climatology and a covariance of their own.
        network: F of one channel with features; None for the Gaussian alone.
        terrain: heights in m on a grid, or None.
        calibration: by region name, and by variable for everywhere else.
        card: as it stands beside the weights.
    """

    spectra: dict[str, Spectrum]
    regions: tuple[Region, ...] = ()
    network: nn.Module | None = None
    terrain: tuple[Grid, np.ndarray] | None = None
    calibration: dict[str, Calibration] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """The quantities that it knows, in the order of the network's planes."""
        return tuple(self.spectra)

    def heights(self, grid: Grid) -> np.ndarray | None:
        """The terrain's height at cells in m, bilinearly, (rows, columns)."""
        if self.terrain is None:
            return None
        known, values = self.terrain
        # Beyond the outermost rows the terrain is theirs, up to the poles.
        latitudes = np.clip(grid.latitudes, known.latitudes[0], known.latitudes[-1])
        rows = interpolation(known.latitudes, latitudes)
        columns = interpolation(known.longitudes, np.mod(grid.longitudes, 360), known.periodic)
        return rows @ values @ columns.T

    def features(
        self, variable: str, grid: Grid, hour: float | None, day: float | None, heights: np.ndarray | None = None
    ) -> Tensor:
        """The feature planes of a field, (planes, rows, columns); what is not known is 0.

        Args:
            variable: the quantity's name.
            grid: of the field.
            hour: of the day in UTC; turned to local solar time by the longitude.
            day: of the year, from 0.
            heights: in m, (rows, columns); the prior's own terrain by default.
        """
        heights = self.heights(grid) if heights is None else heights
        planes = np.zeros((PLAIN + len(self.variables), *grid.shape), np.float32)
        if heights is not None:
            planes[0], planes[1] = heights / 1000, heights > 10
        if hour is not None:
            angle = 2 * np.pi * (hour + grid.longitudes / 15) / 24
            planes[2], planes[3] = np.cos(angle), np.sin(angle)
        if day is not None:
            planes[4], planes[5] = np.cos(2 * np.pi * day / 365.25), np.sin(2 * np.pi * day / 365.25)
        planes[6] = np.sin(np.deg2rad(grid.latitudes))[:, None]
        planes[7] = np.log(grid.kilometres[0] / 25)
        if variable in self.variables:
            planes[PLAIN + self.variables.index(variable)] = 1
        return torch.from_numpy(planes)


class Backgrounds:
    """Makes the background of every time of one variable on one grid; what does not change with time is made once.

    Args:
        prior: the prior.
        variable: the quantity's name.
        fine, coarse: the grids.
        operator: between them, with one channel for each of the field.
        spectrum: replaces the prior's own (fitted to the coarse input where the prior lacks the variable).
        heights: of the terrain on the fine grid in m; the prior's by default.
        use_regions: whether a region's own past may be used.
    """

    def __init__(
        self,
        prior: Prior,
        variable: str,
        fine: Grid,
        coarse: Grid,
        operator: Coarsening,
        spectrum: Spectrum | None = None,
        heights: np.ndarray | None = None,
        use_regions: bool = True,
    ) -> None:
        self.prior, self.variable, self.fine, self.coarse, self.operator = prior, variable, fine, coarse, operator
        self.channels = len(operator.kept)
        self.heights = prior.heights(fine) if heights is None else heights
        self.place = find_region(prior.regions, variable, fine) if use_regions and self.channels == 1 else None
        self.spectrum = spectrum or prior.spectra[variable]
        covariance = None if self.place is None else self.place[0].covariance(self.place[1], fine)
        self.dense = covariance is not None
        if covariance is not None:
            self.gaussian = GaussianDenoiser(torch.zeros(1, *fine.shape), covariance, EDM())
        else:
            self.gaussian = stationary_gaussian(self.spectrum.variances(fine), self.channels, fine.periodic)
        name = self.place[0].name if self.place is not None else variable
        # A network that no held-out day has spoken for stays out.
        unheard = Calibration(strength=0.0)
        self.calibration = prior.calibration.get(name, prior.calibration.get(variable, unheard))
        if variable not in prior.variables:
            self.origin = "a stationary Gaussian whose spectrum was fitted to the coarse input"
        elif self.place is not None:
            self.origin = f"the climatology of {self.place[0].name}" + (" and its covariance" if self.dense else "")
        else:
            self.origin = f"a low-order fit to the coarse field and the spectrum of {variable}"

    def at(self, coarse: np.ndarray, hour: float | None, mean: np.ndarray | None = None) -> Background:
        """The background of one time.

        Args:
            coarse: (channels, rows, columns), NaN in gaps.
            hour: of the day (UTC); None where the field has no time.
            mean: of the fine field where a climatology gives it, (channels, rows, columns).
        """
        terrain = None if self.heights is None else (self._coarse_heights(), self.heights)
        if self.place is None:
            return stationary(
                coarse, self.coarse, self.fine, self.operator, self.spectrum, self.origin, mean, terrain, self.gaussian
            )
        region, window = self.place
        usual = region.mean(window, hour or 0.0)[None]
        if not self.dense:
            return stationary(
                coarse, self.coarse, self.fine, self.operator, self.spectrum, self.origin, mean, terrain, self.gaussian,
                usual,
            )  # fmt: skip
        mean = usual if mean is None else mean
        expected = self.operator.whole(torch.from_numpy(mean)[None])[0]
        anomalies = torch.nan_to_num(torch.from_numpy(coarse).double() - expected)
        values = anomalies[self.operator.kept] / region.scale
        size = region.scale * adaptive(self.gaussian, values, self.operator, self.calibration.adapt)
        return Background(
            torch.from_numpy(mean), torch.full(mean.shape, size, dtype=torch.float64), self.gaussian, self.origin
        )

    def _coarse_heights(self) -> np.ndarray:
        assert self.heights is not None
        return self.operator.whole(torch.from_numpy(self.heights)[None, None])[0, 0].numpy()


def build(architecture: dict[str, Any], variables: int) -> UNet:
    """The network with fresh weights: one channel in and out, beside it the feature planes."""
    return UNet(dims=2, in_channels=1 + PLAIN + variables, out_channels=1, **architecture)


def save_prior(folder: Path | str, prior: Prior, architecture: dict[str, Any], card: dict[str, Any]) -> None:
    """Writes a prior as a model folder; see `load_prior`."""
    tensors: dict[str, Tensor] = {}
    if prior.network is not None:
        tensors |= {f"network.{n}": t for n, t in prior.network.state_dict().items()}
    regions = []
    for i, region in enumerate(prior.regions):
        offset = float(region.harmonics[0].mean())
        harmonics = region.harmonics[: 5 if len(region.anomalies) else 1].copy()
        harmonics[0] -= offset
        # Vectors keep their type in a model: half precision has three digits, bfloat16 two.
        tensors[f"region.{i}.harmonics"] = torch.from_numpy(harmonics).half().flatten()
        tensors[f"region.{i}.anomalies"] = _packed(region.anomalies)
        regions.append(
            {
                "name": region.name, "variable": region.variable, "offset": offset, "scale": region.scale,
                "samples": len(region.anomalies), "range": _range(region.anomalies), "grid": _grid_card(region.grid),
            }
        )  # fmt: skip
    terrain = None
    if prior.terrain is not None:
        tensors["terrain"] = torch.from_numpy(prior.terrain[1]).half().flatten()
        terrain = _grid_card(prior.terrain[0])
    save_model(
        folder,
        tensors,
        {
            **card,
            "domain": "atmosphere",
            "architecture": architecture if prior.network is not None else None,
            "spectra": {name: asdict(s) for name, s in prior.spectra.items()},
            "regions": regions,
            "terrain": terrain,
            "calibration": {name: asdict(c) for name, c in prior.calibration.items()},
        },
        dtype=torch.bfloat16,
    )


def load_prior(folder: Path | str, device: str | torch.device = "cpu") -> Prior:
    """The prior of a model folder.

    Raises:
        ModelError: where the folder holds no atmosphere model, or a damaged one.
    """
    tensors, card = load_model(folder)
    try:
        spectra = {
            n: Spectrum(tuple(s["knots"]), tuple(s["power"]), tuple(s["tilt"])) for n, s in card["spectra"].items()
        }
        regions = []
        for i, entry in enumerate(card["regions"]):
            grid = _grid(entry["grid"])
            known = tensors[f"region.{i}.harmonics"].reshape(-1, *grid.shape).double().numpy()
            harmonics = np.concatenate([known, np.zeros((5 - len(known), *grid.shape))])
            harmonics[0] += entry["offset"]
            packed = tensors[f"region.{i}.anomalies"]
            anomalies = packed.reshape(-1, *grid.shape).float().numpy() * np.float32(entry["range"] / 127)
            regions.append(Region(entry["name"], entry["variable"], grid, harmonics, entry["scale"], anomalies))
        terrain = None
        if card["terrain"] is not None:
            grid = _grid(card["terrain"])
            terrain = (grid, tensors["terrain"].reshape(grid.shape).double().numpy())
        network = None
        if card["architecture"] is not None:
            network = build(card["architecture"], len(spectra))
            network.load_state_dict({n[8:]: t for n, t in tensors.items() if n.startswith("network.")})
            network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        calibration = {n: Calibration(**c) for n, c in card["calibration"].items()}
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{folder}: not an atmosphere model", "Name a model of `ornstein models list` whose domain is atmosphere."
        ) from error
    return Prior(spectra, tuple(regions), network, terrain, calibration, card)


def _packed(anomalies: np.ndarray) -> Tensor:
    """Anomalies in 8 bits of their range: the rounding is white noise of 0.23 % of it."""
    return torch.from_numpy(np.round(anomalies * (127 / _range(anomalies))).astype(np.int8)).flatten()


def _range(anomalies: np.ndarray) -> float:
    return float(np.abs(anomalies).max(initial=0.0)) or 1.0


def _grid_card(grid: Grid) -> dict[str, Any]:
    return {
        "latitudes": [float(grid.latitudes[0]), float(grid.latitudes[-1]), grid.shape[0]],
        "longitudes": [float(grid.longitudes[0]), float(grid.longitudes[-1]), grid.shape[1]],
        "periodic": grid.periodic,
    }


def _grid(card: dict[str, Any]) -> Grid:
    return Grid(np.linspace(*card["latitudes"]), np.linspace(*card["longitudes"]), card["periodic"])


def refused_variables(prior: Prior, names: Sequence[str | None]) -> list[str]:
    """Which of the quantities the prior lacks."""
    return [str(n) for n in names if n not in prior.variables]

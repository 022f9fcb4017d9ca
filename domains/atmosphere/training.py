"""Training the prior from a configuration: spectra and regions in one pass, the network for what they leave, and then
what the held-out days say of strength and spread."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.configuration import Configuration
from ornstein.core.errors import InputError
from ornstein.core.gaussian import PreconditionedDenoiser
from ornstein.core.noise import key
from ornstein.core.paths import EDM
from ornstein.core.training.loop import TrainingSettings, explained, train, world
from ornstein.core.training.objectives import LogNormalTimes, denoising_loss, stratified
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.archive import FieldSource, Series, load_series, load_terrain
from ornstein.domains.atmosphere.background import MOST_CELLS, Region, stationary, stationary_gaussian
from ornstein.domains.atmosphere.calibration import calibrate
from ornstein.domains.atmosphere.covariances import Spectrum, plane, wave_power
from ornstein.domains.atmosphere.operator import Coarsening
from ornstein.domains.atmosphere.prior import Prior, build, save_prior
from ornstein.domains.atmosphere.sampling import ByChannel

FOLDS = 4
"""Parts of a region's past: the network meets each part with the covariance of the others, as it will meet new days."""

MOST = 4.0
"""The root mean square of a patch in units of its expected deviation, above which it is left out."""


@dataclass(frozen=True)
class AtmosphereConfiguration(Configuration):
    """Everything that makes a prior; `ornstein train` reads it from YAML.

    Args:
        output: folder of the model; the training state goes to its sub-folder `training`.
        name: of the model.
        data: sources of fields.
        terrain: a global file of geopotential or height, or empty.
        network: whether there is one; without it the model is made in a minute.
        channels, blocks, attention, dropout: of the U-Net.
        patch: most rows and columns of a training patch, multiples of 8.
        batch: patches a step.
        noise_mean, noise_std: of log(sigma) in training, in units of the background's deviation.
        samples: most anomalies that are kept for a region's covariance.
        calibration: held-out times a series that are sampled at the end, at least 0.
        training: see `TrainingSettings`.
        card: free text for the model card: data, licence, limits.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    hint: ClassVar[str] = "See docs/atmosphere.md for the fields of a prior."

    output: str
    name: str
    data: tuple[FieldSource, ...]
    terrain: str = ""
    network: bool = True
    channels: tuple[int, ...] = (32, 48, 64)
    blocks: int = 1
    attention: tuple[int, ...] = ()
    dropout: float = 0.1
    patch: int = 48
    batch: int = 16
    noise_mean: float = -1.0
    noise_std: float = 1.2
    samples: int = 240
    calibration: int = 8
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("data: no source is given")
        if not self.channels or min(*self.channels, self.blocks, self.batch, self.samples) < 1:
            raise ValueError("channels, blocks, batch and samples must be at least 1")
        if self.patch < 16 or self.patch % 8:
            raise ValueError(f"patch {self.patch}: must be a multiple of 8, at least 16")
        if self.noise_std <= 0 or not 0 <= self.dropout < 1 or self.calibration < 0:
            raise ValueError("noise_std must be above 0, dropout in [0, 1), calibration at least 0")

    @property
    def architecture(self) -> dict[str, Any]:
        """What `build` makes the network of."""
        return {
            "channels": list(self.channels), "blocks": self.blocks, "attention": list(self.attention),
            "embedding": 64, "dropout": self.dropout,
        }  # fmt: skip


class Patches:
    """Batches of patches: called with (step, generator), as the training loop calls it.

    Every batch comes from one group: a series, or one of the folds of a region with a covariance of its own.

    Args:
        series: what to draw from.
        prior: with spectra, regions and terrain.
        patch, batch: size and number.
    """

    def __init__(self, series: list[Series], prior: Prior, patch: int, batch: int) -> None:
        self.prior, self.batch = prior, batch
        self.groups: list[_Group] = []
        for one in series:
            if min(one.grid.shape) < 16 or one.trained < 1 or one.weight == 0:
                continue
            place = next((r for r in prior.regions if r.name == one.region and r.variable == one.variable), None)
            if place is not None and len(place.anomalies):
                days = np.arange(one.trained) * FOLDS // one.trained  # consecutive times share a fold
                for fold in range(FOLDS):
                    inside, outside = (np.flatnonzero((days == fold) == same) for same in (True, False))
                    region = one.learn(outside, len(place.anomalies), True)
                    self.groups.append(_Group(one, inside, region, _whole(one.grid), one.weight / FOLDS))
            else:
                rows, columns = (min(patch, n // 8 * 8) for n in one.grid.shape)
                self.groups.append(_Group(one, np.arange(one.trained), place, (rows, columns), one.weight))
        if not self.groups:
            raise InputError("data: no field has 16 x 16 cells", "give larger fields, or set network: false")
        weights = np.array([g.weight for g in self.groups])
        self.shares = torch.from_numpy(weights / weights.sum())
        self.heights = {id(g.series): prior.heights(g.series.grid) for g in self.groups}

    def gaussian(self, group: int) -> GaussianDenoiser:
        """What z of a group is expected to be."""
        g = self.groups[group]
        rows, columns = g.patch
        grid = g.series.grid.cut(slice(0, rows), slice(0, columns))
        if g.dense:
            assert g.region is not None
            covariance = g.region.covariance((slice(0, rows), slice(0, columns)), grid)
            assert covariance is not None
            return GaussianDenoiser(torch.zeros(1, rows, columns), covariance, EDM())
        grid = replace(grid, latitudes=grid.latitudes - grid.latitudes.mean() + g.series.grid.latitudes.mean())
        return stationary_gaussian(self.prior.spectra[g.series.variable].variances(grid), 1, False)

    def __call__(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        group = int(torch.multinomial(self.shares, 1, generator=generator))
        g = self.groups[group]
        items = [self._item(g, generator) for _ in range(self.batch)]
        return {
            "x0": torch.stack([z for z, _ in items]).float(),
            "features": torch.stack([f for _, f in items])[:, None],
            "group": torch.tensor(group),
        }

    def _item(self, g: "_Group", generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One patch as z, (1, rows, columns), and its features.

        Patches with gaps are drawn again, and those that their coarse average foretells so badly (thin air's humidity)
        that a few would be all that the loss sees.
        """

        def number(n: int) -> int:
            return int(torch.randint(n, (1,), generator=generator))

        rows, columns = g.patch
        for _ in range(100):
            time = int(g.times[number(len(g.times))])
            top = number(g.series.grid.shape[0] - rows + 1)
            left = number(g.series.grid.shape[1] - columns + 1)
            window = slice(top, top + rows), slice(left, left + columns)
            values = g.series.values[(time, *window)]
            if not np.isfinite(values).all():
                continue
            grid = g.series.grid.cut(*window)
            whole = self.heights[id(g.series)]
            heights = None if whole is None else whole[window]
            z = normalised(values, grid, self.prior, g.series, time, g.region, window, (4, 8)[number(2)], heights)
            if np.square(z).mean() < MOST**2:
                break
        else:
            raise InputError(f"{g.series.name}: hardly a patch is without gaps", "leave the variable out")
        features = self.prior.features(
            g.series.variable, grid, float(g.series.hours[time]), float(g.series.days[time]), heights
        )
        if number(4) == 0:  # a user's field may lie where the terrain is unknown
            features[:2] = 0
        return torch.from_numpy(z)[None], features


@dataclass(frozen=True, eq=False)
class _Group:
    series: Series
    times: np.ndarray
    region: Region | None
    patch: tuple[int, int]
    weight: float

    @property
    def dense(self) -> bool:
        return self.region is not None and len(self.region.anomalies) > 0


def normalised(
    values: np.ndarray,
    grid: Grid,
    prior: Prior,
    series: Series,
    time: int,
    region: Region | None,
    window: tuple[slice, slice],
    factor: int,
    heights: np.ndarray | None,
) -> np.ndarray:
    """A patch (rows, columns) as z of the background that its average over factor x factor cells would give it."""
    usual = None if region is None else region.mean(window, float(series.hours[time]))[None]
    if region is not None and usual is not None and len(region.anomalies):
        return (values - usual[0]) / region.scale
    coarse_grid = grid.coarsen(factor)
    operator = Coarsening.between(grid, coarse_grid)
    field = torch.from_numpy(values.astype(np.float64))[None, None]
    coarse = operator.whole(field)[0].numpy()
    terrain = None
    if heights is not None:
        terrain = (operator.whole(torch.from_numpy(heights)[None, None])[0, 0].numpy(), heights)
    background = stationary(
        coarse, coarse_grid, grid, operator, prior.spectra[series.variable], "", None, terrain, _NO_GAUSSIAN, usual
    )
    return (values - background.mean[0].numpy()) / background.deviation[0].numpy()


def _whole(grid: Grid) -> tuple[int, int]:
    rows, columns = (n // 8 * 8 for n in grid.shape)
    return rows, columns


_NO_GAUSSIAN = GaussianDenoiser(torch.zeros(1), torch.ones(1))


def learn_prior(configuration: AtmosphereConfiguration, series: list[Series], log: Callable[[str], None]) -> Prior:
    """Spectra, regions and terrain: all of the prior but its network and its calibration."""
    terrain = load_terrain(configuration.terrain) if configuration.terrain else None
    regions = []
    for one in series:
        if one.region and one.trained >= 8:
            dense = one.grid.shape[0] * one.grid.shape[1] <= MOST_CELLS
            regions.append(one.learn(np.arange(one.trained), configuration.samples, dense))
            log(f"{one.name}: a climatology of {one.trained} times" + (", and a covariance" if dense else ""))
    spectra = {}
    for variable in sorted({one.variable for one in series}):
        ours = [one for one in series if one.variable == variable]
        powers, grids = [], []
        for one in ours:
            # Parts of at most 64 cells: waves of a part, so that the width of a cell hardly changes within it.
            rows, columns = (min(n, 64) for n in one.grid.shape)
            times = np.linspace(0, one.trained - 1, min(one.trained, 60)).astype(int)
            for left in range(0, one.grid.shape[1] - columns + 1, columns):
                for top in range(0, one.grid.shape[0] - rows + 1, rows):
                    part = one.values[times, top : top + rows, left : left + columns].astype(np.float64)
                    part = part[np.isfinite(part).all((1, 2))]
                    if len(part) and min(rows, columns) >= 8:
                        part = part - part.mean((1, 2), keepdims=True)
                        size = np.sqrt(np.square(part).mean()) + 1e-12
                        # Less its plane, whose ends would otherwise meet in a step.
                        powers.append(wave_power(np.stack([field - plane(field) for field in part]) / size))
                        grids.append(one.grid.cut(slice(top, top + rows), slice(left, left + columns)))
        if powers:
            spectra[variable] = Spectrum.fit(powers, grids)
    log(f"spectra of {', '.join(spectra)}")
    return Prior(spectra, tuple(regions), None, terrain)


def train_prior(
    configuration: AtmosphereConfiguration,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Path:
    """Trains a prior, calibrates it on the held-out times and writes its folder; resumes where it stopped."""
    c = configuration
    series = [one for source in c.data for one in load_series(source)]
    log(f"{len(series)} series, {sum(len(one.values) for one in series)} fields")
    prior = learn_prior(c, series, log)
    series = [one for one in series if one.variable in prior.spectra]
    if c.network:
        prior = replace(prior, network=_train_network(c, series, prior, device, log, stop_after))
    if world()[0] > 0:  # one process of several writes the model
        return Path(c.output)
    scores: dict[str, Any] = {}
    if c.calibration:
        prior, scores = calibrate(prior, series, c.calibration, c.patch, log, device)
    card = {
        "name": c.name,
        "configuration": c.recorded,
        "held_out_scores": scores,
        **c.card,
    }
    save_prior(c.output, prior, c.architecture, card)
    return Path(c.output)


def _train_network(
    c: AtmosphereConfiguration,
    series: list[Series],
    prior: Prior,
    device: str | torch.device,
    log: Callable[[str], None],
    stop_after: int | None,
) -> nn.Module:
    torch.manual_seed(key(c.training.seed))
    network = build(c.architecture, len(prior.variables))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    log(f"{sum(p.numel() for p in network.parameters()):,} weights")
    patches = Patches(series, prior, c.patch, c.batch)
    gaussians = [patches.gaussian(i).to(device) for i in range(len(patches.groups))]
    log(f"{len(gaussians)} groups of patches")
    times = LogNormalTimes(c.noise_mean, c.noise_std)

    def loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x0, gaussian = tensors["x0"], gaussians[int(tensors["group"])]
        denoiser = PreconditionedDenoiser(ByChannel(model), gaussian)
        t = times(gaussian.path, stratified(len(x0), generator)).to(x0.device)
        z = torch.randn(x0.shape, generator=generator).to(x0.device)
        return denoising_loss(denoiser, x0, t, z, None, features=tensors["features"])

    with explained():
        return train(
            network,
            patches,
            loss,
            c.training,
            Path(c.output) / "training",
            device=device,
            log=log,
            stop_after=stop_after,
        ).to("cpu")

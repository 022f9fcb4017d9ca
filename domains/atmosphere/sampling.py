"""Ensembles of fine fields from what was measured: optimal interpolation's, moved on by the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ornstein.core.denoisers import Denoiser
from ornstein.core.gaussian import GaussianPosterior, PreconditionedDenoiser
from ornstein.core.grids import Karras
from ornstein.core.noise import KeyedNoise, key
from ornstein.core.operators import Composition, LinearOperator
from ornstein.core.solvers import sample
from ornstein.domains.atmosphere.background import Background
from ornstein.domains.atmosphere.operator import Scaling

START = 1.5
"""The noise level, in units of the background's deviation, at which sampling starts from optimal interpolation's ensemble
and noise: above what is left unknown of z once it is measured."""

DENSE = 1500
"""Observations, up to which the posterior's matrix is factored; beyond, conjugate gradients."""
ITERATIONS = 300
"""Of these at most: 60 leave 1.0 of a deviation of 7 on water vapour of the whole tropics."""


class ByChannel(nn.Module):
    """A network for one field applied to each channel of an item by itself; wrapped around a periodic longitude.

    Args:
        network: F(x, label, features) on (batch, 1, rows, columns).
        periodic: whether the last column is the neighbour of the first.
        strength: factor of its output, in [0, 1]: 0 leaves optimal interpolation.
        halo: columns that are repeated on either side where it is periodic.
    """

    def __init__(self, network: nn.Module, periodic: bool = False, strength: float = 1.0, halo: int = 32) -> None:
        super().__init__()
        self.network, self.periodic, self.strength, self.halo = network, periodic, strength, halo

    def forward(self, x: Tensor, label: Tensor, features: Tensor | None = None) -> Tensor:
        batch, channels, rows, columns = x.shape
        h = x.reshape(batch * channels, 1, rows, columns).float()
        f = None if features is None else features.expand(batch, -1, -1, -1, -1).reshape(len(h), -1, rows, columns)
        halo = min(self.halo, columns) if self.periodic else 0
        if halo:
            h = _wrapped(h, halo)
            f = None if f is None else _wrapped(f, halo)
        out = self.network(h, label.repeat_interleave(channels), features=f)
        return self.strength * out[..., halo : halo + columns].reshape(x.shape)


def _wrapped(x: Tensor, halo: int) -> Tensor:
    return torch.cat([x[..., -halo:], x, x[..., :halo]], -1)


@dataclass(frozen=True)
class SlowNoise:
    """Unit Gaussian noise that changes slowly with time: white noise at knots, weighed by a Gaussian around the time,

        z(t) = sum_k w_k e_k / |w|,     w_k = exp(-(t - t_k)^2 / memory^2),     Corr[z(t), z(s)] ~ exp(-(t - s)^2 / 2 memory^2).

    It depends on the seed, the time, the member and the stream, and on nothing else: not on which times came before.

    Args:
        seed: the user's.
        hours: the time, in hours from any origin.
        memory: in hours; 0 gives each time noise of its own.
        stream: a number for each use.
    """

    seed: int
    hours: float
    memory: float = 0.0
    stream: int = 0

    def __call__(self, members: Sequence[int], shape: Sequence[int]) -> Tensor:
        """(members, *shape) in float32."""
        if self.memory <= 0:
            return self._white(round(self.hours * 60), members, shape)
        step = self.memory
        near = round(self.hours / step)
        knots = np.arange(near - 3, near + 4)
        weights = np.exp(-((self.hours / step - knots) ** 2))
        weights /= np.sqrt((weights**2).sum())
        total = torch.zeros(len(members), *shape)
        for knot, weight in zip(knots, weights):
            total += float(weight) * self._white(int(knot), members, shape)
        return total

    def _white(self, place: int, members: Sequence[int], shape: Sequence[int]) -> Tensor:
        seed = key(self.seed, self.stream, place % 2**32)
        return KeyedNoise(seed % 2**32, members)(0, (len(members), *shape))


@dataclass(frozen=True, eq=False)
class Settings:
    """How an ensemble is drawn.

    Args:
        members: at least 1; 1 is the posterior mean by one evaluation.
        steps: of the sampler; without a network none is taken.
        seed: of all noise.
        hours: time of the field, hours from any origin.
        memory: of the noise in hours.
        strength: of the network, in [0, 1].
        inflation: factor of the background's covariance.
        spread: factor of the members' deviations from their mean.
        batch: members at a time.
    """

    members: int = 16
    steps: int = 8
    seed: int = 0
    hours: float = 0.0
    memory: float = 0.0
    strength: float = 1.0
    inflation: float = 1.0
    spread: float = 1.0
    batch: int = 16


@torch.no_grad()
def ensemble(
    background: Background,
    operator: LinearOperator,
    values: Tensor,
    noise: Tensor,
    settings: Settings,
    network: nn.Module | None = None,
    features: Tensor | None = None,
    periodic: bool = False,
    progress: Callable[[], None] | None = None,
) -> Tensor:
    """Members of the posterior of one field: (members, channels, rows, columns) in float64, in the field's units.

    Without a network these are optimal interpolation's, exactly; with one they start there at the noise level `START`
    and are denoised under all observations.

    Args:
        background: of the field.
        operator: A, on (batch, channels, rows, columns) in the field's units, range (batch, m).
        values: what was measured, (m,), float64.
        noise: standard deviations, (m,), above 0.
        settings: see there.
        network: F of `PreconditionedDenoiser` for one channel.
        features: (1, channels, features, rows, columns).
        periodic: of the longitude, for the network.
        progress: called after each batch of members.
    """
    background = background.inflated(settings.inflation)
    posterior = posterior_of(background, operator, values, noise, network, features, periodic, settings.strength)
    shape = background.mean.shape
    if settings.members == 1:
        z = posterior_mean(posterior)
        if network is not None and settings.strength > 0:
            z = posterior(z, _time(posterior, START), features=features)
        return background.mean + background.deviation * z
    parts = []
    for first in range(0, settings.members, settings.batch):
        members = range(first, min(first + settings.batch, settings.members))

        def draw(stream: int, shape: Sequence[int], members: range = members) -> Tensor:
            noise = SlowNoise(settings.seed, settings.hours, settings.memory, stream)
            return noise(members, shape).double().to(values.device)

        z = posterior.draw(draw(0, shape), draw(1, values.shape))
        if network is not None and settings.strength > 0:
            start = _time(posterior, START)
            grid = Karras(start=float(start), sigma_min=0.002)
            x = z + START * draw(2, shape)
            z = sample(posterior, steps=settings.steps, grid=grid, x_start=x, features=features)  # type: ignore[arg-type]
        parts.append(z)
        if progress is not None:
            progress()
    z = torch.cat(parts)
    if settings.spread != 1:
        z = z.mean(0) + settings.spread * (z - z.mean(0))
    return background.mean + background.deviation * z


def posterior_of(
    background: Background,
    operator: LinearOperator,
    values: Tensor,
    noise: Tensor,
    network: nn.Module | None = None,
    features: Tensor | None = None,
    periodic: bool = False,
    strength: float = 1.0,
) -> GaussianPosterior:
    """The posterior of z, the field in units of its background."""
    gaussian = background.gaussian
    prior: Denoiser = gaussian
    if network is not None and strength > 0:
        prior = PreconditionedDenoiser(ByChannel(network, periodic, strength), gaussian)
    normalised = Composition(operator, Scaling(background.deviation))
    misfit = values - operator.forward(background.mean[None])[0]
    dense = len(values) <= DENSE and len(values) * background.mean.numel() < 5e7
    return GaussianPosterior(prior, gaussian, normalised, misfit[None], noise, None if dense else ITERATIONS)


def posterior_mean(posterior: GaussianPosterior) -> Tensor:
    """Optimal interpolation's analysis of z, (1, ...)."""
    values = posterior.gaussian.covariance.eigenvalues
    return posterior.update(posterior.gaussian.mean[None], posterior.observations[:1], values)


def keep_bounds(members: Tensor, low: float | None, coarsening: LinearOperator | None) -> Tensor:
    """Members without values below a physical bound, their coarse averages kept where these respect it.

    What lies below is raised to the bound, and what lies above lowered in proportion, cell by cell of the coarse grid.
    """
    if low is None or bool((members >= low).all()):
        return members
    raised = (members - low).clamp(min=0)
    if coarsening is not None:
        before, after = coarsening.forward(members - low).clamp(min=0), coarsening.forward(raised)
        ones = coarsening.forward(torch.ones_like(members[:1]))
        factor = torch.where(after > 0, before / after.clamp(min=1e-30), 1.0)
        # Each fine cell takes the factor of its coarse cells, by the share that they have of it.
        shares = coarsening.adjoint(ones)
        spread = coarsening.adjoint(factor.clamp(max=1.0)) / shares.clamp(min=1e-30)
        raised = torch.where(shares > 0, raised * spread, raised)
    return raised + low


def _time(posterior: GaussianPosterior, sigma: float) -> Tensor:
    return posterior.path.time_of(-torch.tensor(sigma, dtype=torch.float64).log())

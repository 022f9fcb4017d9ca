"""What `solvers.py` samples: denoisers, starts, exact ends, and the distances from them."""

import math
from dataclasses import dataclass

import torch
from solvers_peers import Denoise
from torch import Tensor

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.denoisers import Denoiser, NetworkDenoiser
from ornstein.core.grids import Grid
from ornstein.core.paths import EDM, Path, time
from ornstein.core.solvers import Exponential, sample

WIDE = torch.float64
LOW, HIGH = 0.002, 80.0
PATH = EDM(LOW, HIGH)
TARGETS = ("gmm2", "gmm64", "gauss64", "mri-prior")
COVARIANCE_SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Problem:
    """A denoiser on the EDM path, and one start.

    Args:
        denoiser: E[x0 | x_t].
        denoise: the same for peers, of x = x0 + sigma z and sigma.
        x: the start at sigma 80, (batch, ...).
        end: the probability flow's end at sigma 0.002.
        doubt: the end's own error, root mean square per coordinate, estimated.
        estimated: the Gaussian of 1,000 samples of the target, for teleportation.
        exact: that of its true mean and covariance.
    """

    denoiser: Denoiser
    denoise: Denoise
    x: Tensor
    end: Tensor
    doubt: float = 0.0
    estimated: GaussianDenoiser | None = None
    exact: GaussianDenoiser | None = None


class EqualMixture(Denoiser):
    """The `MixtureDenoiser` of modes (K, d) of equal weight and one variance, by two matrix products: many times as fast."""

    def __init__(self, modes: Tensor, variance: float) -> None:
        super().__init__(PATH)
        self.modes, self.variance = modes, variance

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(time(t))
        a, total = c.a, c.a**2 * self.variance + c.s**2
        x = x_t.to(WIDE)
        logits = (x @ self.modes.mT - a / 2 * self.modes.square().sum(1)) * (a / total)
        gain = a * self.variance / total
        return (gain * x + (1 - a * gain) * (torch.softmax(logits, dim=1) @ self.modes)).to(x_t.dtype)


class Identity(torch.nn.Module):
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return x


def identity() -> Problem:
    """A network that costs nothing, on one 1x64 tensor; peers are spared all conversions."""
    x, gaussian = torch.randn(1, 64), GaussianDenoiser(torch.zeros(64), torch.eye(64, dtype=WIDE), PATH)
    return Problem(NetworkDenoiser(Identity(), PATH), lambda x, sigma: x, x, x, 0.0, gaussian, gaussian)


def problems(name: str, samples: int, seeds: int, quick: bool) -> list[Problem]:
    """The target's problems, one a seed; a single image each for the MRI prior."""
    if name == "mri-prior":
        return prior_problems(seeds, 10 if quick else 200)
    denoiser, exact, modes = exact_target(name)
    made = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(100 + seed)
        size = exact.mean.numel()
        x = HIGH * torch.randn(samples, size, dtype=WIDE, generator=generator)
        z = torch.randn(COVARIANCE_SAMPLES, size, dtype=WIDE, generator=generator)
        if modes is None:
            drawn, end, doubt = exact.mean + exact.covariance.root(z), exact.flow(x, 1.0, 0.0), 0.0
        else:
            chosen = torch.randint(len(modes), (COVARIANCE_SAMPLES,), generator=generator)
            drawn = modes[chosen] + math.sqrt(denoiser.variance) * z  # type: ignore[union-attr, operator]
            end, doubt = fine_end(denoiser, x, 200 if quick else 800)
        estimated = GaussianDenoiser.from_samples(drawn, path=PATH)
        made.append(Problem(denoiser, plain(denoiser), x, end, doubt, estimated, exact))
    return made


def exact_target(name: str) -> tuple[EqualMixture | GaussianDenoiser, GaussianDenoiser, Tensor | None]:
    """The denoiser, the Gaussian of the target's mean and covariance, and its modes."""
    generator = torch.Generator().manual_seed(0)
    ring = torch.arange(8, dtype=WIDE) * math.pi / 4
    far = torch.randn(10, 64, dtype=WIDE, generator=generator)
    middle = 0.5 * torch.randn(64, dtype=WIDE, generator=generator)
    if name == "gauss64":
        exact = GaussianDenoiser(middle, torch.logspace(-4, 0, 64, dtype=WIDE), PATH)
        return exact, exact, None
    modes, variance = (torch.stack([ring.cos(), ring.sin()], dim=1), 0.01) if name == "gmm2" else (far, 0.04)
    denoiser, size = EqualMixture(modes, variance), modes.shape[1]
    offset = modes - modes.mean(0)
    covariance = offset.mT @ offset / len(modes) + variance * torch.eye(size, dtype=WIDE)
    slow = MixtureDenoiser(torch.ones(len(modes)), modes, torch.full((len(modes),), variance, dtype=WIDE), PATH)
    x = torch.randn(8, size, dtype=WIDE, generator=generator)
    for t in (0.0, 0.3, 1.0):
        torch.testing.assert_close(denoiser(x, time(t)), slow(x, time(t)), rtol=1e-9, atol=1e-12)
    return denoiser, GaussianDenoiser(modes.mean(0), covariance, PATH), modes


def prior_problems(seeds: int, steps: int) -> list[Problem]:
    """The shipped MRI prior on complex crops of 128x128 pixels, in float32."""
    from ornstein.domains.mri.prior import load_prior
    from ornstein.pipelines.models import find_model

    prior, _ = load_prior(find_model(None, "mri").folder)
    made = []
    for seed in range(seeds):
        x = HIGH * torch.randn(1, 2, 128, 128, generator=torch.Generator().manual_seed(100 + seed))
        made.append(Problem(prior, plain(prior), x, *fine_end(prior, x, steps)))
    return made


def fine_end(denoiser: Denoiser, x: Tensor, steps: int) -> tuple[Tensor, float]:
    """The probability flow's end from x, and an estimate of that answer's own error per coordinate."""
    solver, grid = Exponential(3, weights="b2", corrector=True), grids.LogSNR()
    coarse, fine = (sample(denoiser, solver=solver, grid=grid, steps=n, x_start=x) for n in (steps // 2, steps))
    return fine, rmse(fine, coarse) / 15  # of fourth order, so that halving the steps multiplies the error by 16


def plain(denoiser: Denoiser) -> Denoise:
    """The denoiser as a function of x = x0 + sigma z and sigma, which is one for the batch."""

    @torch.no_grad()
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=WIDE).reshape(-1)[0]
        return denoiser(x, PATH.time_of(-level.log()))

    return denoise


def levels(path: Path, grid: Grid, steps: int) -> Tensor:
    """The noise levels s / a of a grid, (steps + 1,)."""
    c = path.coefficients(grid(path, steps))
    return c.s / c.a


def rmse(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().mean().sqrt())


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 64) -> float:
    """The 2-Wasserstein distance of projections to lines, as a root mean square over random directions."""
    generator = torch.Generator().manual_seed(1)
    lines = torch.randn(x.shape[1], directions, dtype=x.dtype, generator=generator)
    lines = lines / lines.norm(dim=0)
    return float(((x @ lines).sort(dim=0).values - (y @ lines).sort(dim=0).values).square().mean().sqrt())

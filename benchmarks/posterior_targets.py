"""The problems of `posterior.py`: priors, a measurement and twenty y, with their exact posteriors.

y = A x + n with d = 16, m = 8 and noise of standard deviation 0.05. `gauss` is one Gaussian with variances from 0.01 to 1.
`gmm4` has four modes that A hardly tells apart, so that most posteriors have several, of unequal weights: which, and how
many samples each deserves, is the question.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import EDM, Path, time

SIZE, VALUES, NOISE, PROBLEMS = 16, 8, 0.05, 20
PRIORS = ("gauss", "gmm4")
WIDE = torch.float64
PATH = EDM()


class EqualMixture(Denoiser):
    """E[x0 | x_t] of modes of one white variance and given weights: as fast as their distances."""

    def __init__(self, modes: Tensor, variance: float, path: Path = PATH) -> None:
        super().__init__(path)
        self.modes, self.variance = modes, variance

    def on(self, path: Path) -> "EqualMixture":
        return EqualMixture(self.modes, self.variance, path)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(time(t))
        a, total = (v.reshape(-1, 1) for v in (c.a, c.a**2 * self.variance + c.s**2))
        x = x_t.to(WIDE)
        logits = (x @ self.modes.mT - a / 2 * self.modes.square().sum(1)) * (a / total)
        gain = a * self.variance / total
        return (gain * x + (1 - a * gain) * (torch.softmax(logits, dim=1) @ self.modes)).to(x_t.dtype)


@dataclass(frozen=True)
class Problem:
    """One prior and measurement, twenty y.

    Args:
        name: of the prior.
        denoiser: E[x0 | x_t], on the `EDM` path.
        matrix: A, (m, d).
        y: (problems, m).
        weights: of the posteriors' components, (problems, K).
        means: theirs, (problems, K, d).
        covariance: of each component, (d, d).
    """

    name: str
    denoiser: Denoiser
    matrix: Tensor
    y: Tensor
    weights: Tensor
    means: Tensor
    covariance: Tensor

    @property
    def mean(self) -> Tensor:
        """Of the posteriors, (problems, d)."""
        return (self.weights[..., None] * self.means).sum(1)

    @property
    def covariances(self) -> Tensor:
        """Of the posteriors, (problems, d, d)."""
        offset = self.means - self.mean[:, None]
        return self.covariance + offset.mT @ (self.weights[..., None] * offset)

    def exact(self, samples: int, seed: int) -> Tensor:
        """Exact posterior samples, (problems, samples, d)."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.weights, samples, replacement=True, generator=generator)
        z = torch.randn(*chosen.shape, SIZE, dtype=WIDE, generator=generator)
        means = self.means.gather(1, chosen[..., None].expand(*chosen.shape, SIZE))
        return means + z @ torch.linalg.cholesky(self.covariance).mT


def problem(name: str) -> Problem:
    """The prior of this name with its measurement and its y, always the same."""
    generator = torch.Generator().manual_seed({"gauss": 0, "gmm4": 1}[name])

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=WIDE, generator=generator)

    a = randn(VALUES, SIZE) / math.sqrt(SIZE)
    if name == "gauss":
        basis = torch.linalg.qr(randn(SIZE, SIZE))[0]
        covariance = basis @ torch.diag(torch.logspace(-2, 0, SIZE, dtype=WIDE)) @ basis.mT
        modes = 0.5 * randn(1, SIZE)
        denoiser: Denoiser = GaussianDenoiser(modes[0], covariance, PATH)
    else:
        seen = torch.linalg.qr(a.mT)[0]
        seen = seen @ seen.mT
        modes = 2 * (randn(4, SIZE) @ (torch.eye(SIZE, dtype=WIDE) - seen)) + 0.25 * randn(4, SIZE) @ seen
        covariance = 0.25 * torch.eye(SIZE, dtype=WIDE)
        denoiser = EqualMixture(modes, 0.25)
    drawn = modes[torch.randint(len(modes), (PROBLEMS,), generator=generator)]
    truth = drawn + randn(PROBLEMS, SIZE) @ torch.linalg.cholesky(covariance).mT
    y = truth @ a.mT + NOISE * randn(PROBLEMS, VALUES)
    total = a @ covariance @ a.mT + NOISE**2 * torch.eye(VALUES, dtype=WIDE)
    gain = covariance @ a.mT @ torch.linalg.inv(total)
    misfit = y[:, None] - modes @ a.mT
    weights = torch.softmax(-(misfit @ torch.linalg.inv(total) * misfit).sum(-1) / 2, dim=1)
    left = covariance - gain @ a @ covariance
    return Problem(name, denoiser, a, y, weights, modes + misfit @ gain.mT, (left + left.mT) / 2)


def scores(x: Tensor, problem: Problem, truth: Tensor) -> dict[str, float]:
    """Means over the y: error of the mean over sqrt(tr C), of the covariance relative in Frobenius's norm, and the share of
    the exact samples `truth` within each value's 5th and 95th percentile of x (problems, samples, d)."""
    mean = (x.mean(1) - problem.mean).norm(dim=1) / problem.covariances.diagonal(dim1=1, dim2=2).sum(1).sqrt()
    found = torch.stack([one.mT.cov() for one in x])
    error = (found - problem.covariances).flatten(1).norm(dim=1) / problem.covariances.flatten(1).norm(dim=1)
    ends = torch.quantile(x, torch.tensor([0.05, 0.95], dtype=x.dtype), dim=1)
    inside = (truth > ends[0][:, None]) & (truth < ends[1][:, None])
    return {
        "mean_error": float(mean.mean()),
        "covariance_error": float(error.mean()),
        "coverage90": float(inside.double().mean()),
    }

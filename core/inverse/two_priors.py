"""Two unknowns in one measurement, each with a prior of its own: y = A x + B h + n. Tissue and haze; speech and noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.covariances import Covariance
from ornstein.core.denoisers import Denoiser, Traits
from ornstein.core.operators import LinearOperator
from ornstein.core.paths import time


class TwoPriors(Denoiser):
    """The pair of x and h as one unknown, (batch, d + e), whose prior is that of each by itself.

    So y = A x + B h + n is a measurement of the pair, and every posterior sampler serves it:

        pair = TwoPriors(tissue, haze, ((64,), (64,)))
        samples = sample_posterior(pair, pair.measures(A, B), y, noise, shape=(pair.size,), samples=64)
        x, h = pair.split(samples)

    Within the pair each is in units of its own scale, so that one noise level suits both, however their units differ.

    Args:
        first: E[x0 | x_t] on a Gaussian path without y, which is the pair's.
        second: E[h0 | h_t], on any Gaussian path without y.
        shapes: of one x, and of one h; both real, or both complex.

    Raises:
        ValueError: on paths that drift or are not Gaussian.
    """

    def __init__(self, first: Denoiser, second: Denoiser, shapes: tuple[Sequence[int], Sequence[int]]) -> None:
        super().__init__(first.path)
        for denoiser in (first, second):
            if denoiser.path.drifts or not denoiser.path.gaussian:
                raise ValueError(f"{denoiser.path}: a pair needs Gaussian paths without y")
        self.first, self.second = first, second
        self.shapes = tuple(torch.Size(shape) for shape in shapes)
        self.factors = (1.0, second.scale / first.scale)

    @property
    def traits(self) -> Traits:
        return self.first.traits

    @property
    def size(self) -> int:
        """d + e, the values of a pair."""
        return sum(shape.numel() for shape in self.shapes)

    def join(self, x: Tensor, h: Tensor) -> Tensor:
        """The pair (..., d + e) of x (..., *shape) and h."""
        parts = zip((x, h), self.shapes, self.factors, strict=True)
        return torch.cat([v.flatten(v.ndim - len(shape)) / factor for v, shape, factor in parts], dim=-1)

    def split(self, pair: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., *shape) and h of a pair (..., d + e)."""
        x, h = pair.split([shape.numel() for shape in self.shapes], dim=-1)
        first, second = self.shapes
        lead = pair.shape[:-1]
        return x.reshape(*lead, *first), self.factors[1] * h.reshape(*lead, *second)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        assert y is None and not conditions, "conditions go into each prior before: guidance.Conditioned"
        # join and split only change the units, which x_t has as well.
        x, h = self.split(x_t)
        return self.join(self.first(x, t), self._second(h, t))

    def _second(self, h_t: Tensor, t: Tensor) -> Tensor:
        """E[h0 | h_t] where h_t has the noise factor * sigma in its own units: at that level on its own path."""
        factor, inner = self.factors[1], self.second.path
        outer = self.path.coefficients(time(t))
        moment = inner.time_of((self.path.log_snr(t) - math.log(factor)).clamp(-20, 20)).clamp(0, 1)
        c = inner.coefficients(moment)
        ratio = torch.where(outer.s > 0, c.s / (factor * outer.s), c.a / outer.a)
        ratio = ratio.to(device=h_t.device, dtype=h_t.real.dtype if h_t.is_complex() else h_t.dtype)
        return self.second(ratio.reshape(-1, *[1] * (h_t.ndim - 1)) * h_t, moment)

    def measures(self, of_x: LinearOperator, of_h: LinearOperator) -> "SumOfTwo":
        """A x + B h as an operator on pairs."""
        return SumOfTwo(self, of_x, of_h)

    def gaussian(self, first: GaussianDenoiser, second: GaussianDenoiser) -> GaussianDenoiser:
        """The mean and the covariance of the pair from those of x and of h, for posteriors that use them."""
        mean = self.join(first.mean, second.mean)
        return GaussianDenoiser(mean, Blocks((first.covariance, second.covariance), self.factors), self.path)


@dataclass(frozen=True, eq=False)
class SumOfTwo(LinearOperator):
    """(x, h) -> A x + B h on the pairs of a `TwoPriors`.

    Args:
        pair: says how pairs are joined.
        of_x: A, on (batch, *shape of x).
        of_h: B, on (batch, *shape of h), into the same range.
    """

    pair: TwoPriors
    of_x: LinearOperator
    of_h: LinearOperator

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.pair.split(x)
        return self.of_x.forward(first) + self.of_h.forward(second)

    def adjoint(self, y: Tensor) -> Tensor:
        x, h = self.of_x.adjoint(y), self.pair.factors[1] * self.of_h.adjoint(y)
        return torch.cat([x.flatten(1), h.flatten(1)], dim=1)


class Blocks(Covariance):
    """Independent blocks, one behind the other, each in units of its factor.

    Args:
        parts: the blocks' covariances, in their own units; all with eigenvectors of every direction, or else `function`
            serves and `components` does not.
        factors: the unit of each block, above 0: its variances are divided by the square.
    """

    def __init__(self, parts: Sequence[Covariance], factors: Sequence[float]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)
        self.factors = tuple(factors)
        self.size = sum(part.size for part in parts)
        self._sizes = [part.size for part in parts]
        self._counts = [len(part.eigenvalues) for part in parts]
        self.register_buffer("variances", self.eigenvalues)

    def _covariances(self) -> list[Covariance]:
        return [part for part in self.parts if isinstance(part, Covariance)]

    @property
    def eigenvalues(self) -> Tensor:
        parts = zip(self._covariances(), self.factors, strict=True)
        return torch.cat([part.eigenvalues / factor**2 for part, factor in parts])

    @property
    def multiplicities(self) -> Tensor:
        return torch.cat([part.multiplicities for part in self._covariances()])

    def is_complex(self) -> bool:
        return any(part.is_complex() for part in self._covariances())

    def components(self, x: Tensor) -> Tensor:
        if any(len(part.variances) < part.size for part in self._covariances()):
            raise ValueError("blocks with a rest have no components of their own: solve by a number of iterations")
        blocks = x.flatten(1).split(self._sizes, dim=1)
        return torch.cat([part.components(v) for part, v in zip(self._covariances(), blocks, strict=True)], dim=1)

    def combine(self, components: Tensor, real: bool) -> Tensor:
        blocks = components.split(self._sizes, dim=1)
        return torch.cat([part.combine(v, real) for part, v in zip(self._covariances(), blocks, strict=True)], dim=1)

    def diagonal(self, values: Tensor | None = None) -> Tensor:
        blocks = (self.eigenvalues if values is None else values).split(self._counts, dim=-1)
        return torch.cat([part.diagonal(v) for part, v in zip(self._covariances(), blocks, strict=True)], dim=-1)

    def function(self, x: Tensor, values: Tensor) -> Tensor:
        flat = x.flatten(1)
        assert flat.shape[1] == self.size, f"items of {flat.shape[1]} values, blocks of {self.size}"
        edges = [0, *torch.tensor(self._sizes).cumsum(0).tolist()]
        blocks = zip(self._covariances(), pairwise(edges), values.split(self._counts, dim=-1), strict=True)
        made = [part.function(flat[:, start:end], v) for part, (start, end), v in blocks]
        return torch.cat(made, dim=1).reshape(x.shape)

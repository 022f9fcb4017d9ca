"""What a denoiser is trained on: which times, and how errors at each are weighed."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import Path, expand


class TimeSampling(Protocol):
    """Draws training times: `sampling(path, uniform)` maps uniform numbers in (0, 1) to times, both (batch,)."""

    def __call__(self, path: Path, uniform: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class UniformTimes:
    """t uniform in [low, high], within [0, 1]."""

    low: float = 1e-5
    high: float = 1.0

    def __call__(self, path: Path, uniform: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * uniform.double()


@dataclass(frozen=True)
class LogNormalTimes:
    """log(sigma) = log(s / a) normal with this mean and standard deviation, cut to the path's range.

    Source: Karras et al. (2022), arXiv:2206.00364, table 1 (mean -1.2, standard deviation 1.2).
    """

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, path: Path, uniform: Tensor) -> Tensor:
        log_sigma = self.mean + self.std * torch.special.ndtri(uniform.double().clamp(1e-6, 1 - 1e-6))
        return path.time_of(-log_sigma).clamp(0.0, 1.0)


def stratified(batch: int, generator: torch.Generator) -> Tensor:
    """One uniform number in each of `batch` equal strata of (0, 1), in random order: (batch,), float64.

    Every batch then covers all noise levels, which lowers the variance of the loss (Kingma et al., 2021,
    Variational diffusion models, arXiv:2107.00630, appendix I.1).
    """
    order = torch.randperm(batch, generator=generator)
    return (order + torch.rand(batch, generator=generator, dtype=torch.float64)) / batch


def path_of(denoiser: Denoiser | DistributedDataParallel) -> Path:
    """The path of a denoiser, also where it is wrapped for several processes."""
    return _bare(denoiser).path


def _bare(denoiser: Denoiser | DistributedDataParallel) -> Any:
    inner = denoiser.module if isinstance(denoiser, DistributedDataParallel) else denoiser
    assert isinstance(inner, Denoiser), f"{type(inner).__name__} is no denoiser"
    return inner


def denoising_loss(
    denoiser: Denoiser | DistributedDataParallel,
    x0: Tensor,
    t: Tensor,
    z: Tensor,
    sigma_data: float | None,
    y: Tensor | None = None,
    **conditions: Tensor,
) -> Tensor:
    """w(t) |x0_hat - x0|^2 averaged over all but the batch, with w = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2.

    With this weight an untrained network of unit scale has loss about 1 at every noise level. A `PreconditionedDenoiser`
    brings the weight with which the same is true of it, d / tr Cov[x0 | x_t] of its Gaussian.

    Args:
        denoiser: the model, also as `torchrun` wraps it.
        x0: data, (batch, ...).
        t: times, (batch,).
        z: unit noise like x0.
        sigma_data: standard deviation of the data; None for a denoiser that brings its own weight.
        y: the path's end point, where it has one.

    Returns:
        (batch,) in float32.

    Source: Karras et al. (2022), arXiv:2206.00364, eq. 8 and table 1.
    """
    path = path_of(denoiser)
    x_t = path.mix(x0, z, t, y)
    error = (denoiser(x_t, t, y, **conditions) - x0).float().abs().square().flatten(1).mean(1)
    if sigma_data is None:
        return error * expand(_bare(denoiser).loss_weight(t), error)
    sigma = torch.exp(-path.log_snr(t))
    return error * expand((sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2, error)

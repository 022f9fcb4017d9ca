"""Slices from k-space: maps, scale and noise from the data, then one of the methods."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.inverse.posterior import error_curve
from ornstein.core.noise import KeyedNoise
from ornstein.core.operators import LinearOperator
from ornstein.datasets.kspace import KSpace
from ornstein.domains.mri.classical import cg_sense, total_variation, zero_filled
from ornstein.domains.mri.coils import compress_coils, compression, estimate_noise
from ornstein.domains.mri.diffusion import DiffusionSettings, misfit, posterior_samples
from ornstein.domains.mri.operator import encode
from ornstein.domains.mri.prior import load_prior
from ornstein.domains.mri.sensitivities import estimate_sensitivities

Method = Literal["diffusion", "sense", "tv", "zero-filled"]

SECOND_SET = 0.003
"""Where the second set of maps holds more of the zero-filled images' energy than this, the object folds over its field of
view. Measured: .007 for a slice that folds, at 4x (.019 in full); below 1e-4 for those that do not. How much of the picture
it covers says less: slices of air have second sets too."""

THROUGH_PLANE = 0.2
"""How far neighbouring slices of unit scale may differ at a distance of 1 mm, see `CoupledPosterior`: chosen on a validation
head at 4x (benchmarks/mri_coupling.py); .1 does as well, .05 costs PSNR."""

QUICK = 10  # iterations of CG-SENSE, for an image to judge a scan by
UNREGULARISED = 1e-4  # Tikhonov weight of a least-squares fit; the maps have unit norm


@dataclass(frozen=True, eq=False)
class Survey:
    """What some slices of a scan tell of all of it, so that every slice is treated alike.

    Args:
        scale: 99th percentile of the tissue of the zero-filled images; it is 1 to the prior.
        noise: standard deviation, in real and imaginary part and the data's units, of what an image and the maps
            cannot explain: the receiver's noise, and what the maps do not tell or lies outside their support.
        sets: of coil maps, 1, or 2 where the object folds over its field of view.
        images: quick magnitude images of the slices, (slices, readout, phase), by which a model judges the scan.
        compression: the matrix (virtual, coils) to virtual coils, or None.
        misfit: the model's error on this scan over its error curve, see `misfit`; 1 without a model. A prior errs more on
            what is unlike its training: another contrast, another scanner.
    """

    scale: float
    noise: float
    sets: int
    images: np.ndarray
    compression: Tensor | None = None
    misfit: float = 1.0


@dataclass(frozen=True, eq=False)
class SliceImages:
    """Reconstructed slices.

    Args:
        images: complex64 (samples, slices, readout, phase).
        residual: (slices,), norm of what the images leave of the measured samples over the norm of these.
        network_seconds: time inside the network.
        evaluations: images that went through the network.
        warnings: one sentence each.
    """

    images: np.ndarray
    residual: np.ndarray
    network_seconds: float = 0.0
    evaluations: int = 0
    warnings: list[str] = field(default_factory=list)


def _tensors(kspace: KSpace, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Data, mask and trajectory as tensors."""
    mask = None if kspace.mask is None else torch.from_numpy(np.ascontiguousarray(kspace.mask)).to(device)
    path = None if kspace.trajectory is None else torch.from_numpy(np.ascontiguousarray(kspace.trajectory)).to(device)
    return torch.from_numpy(np.ascontiguousarray(kspace.data)).to(device), mask, path


def survey(
    kspace: KSpace, *, model: Path | None = None, coil_compression: int = 12, device: torch.device | str = "cpu"
) -> Survey:
    """Scale, noise, number of map sets, coil compression and, with a model's folder, how well its prior fits: from some
    slices spread over a scan, all with an object.
    """
    data, mask, trajectory = _tensors(kspace, torch.device(device))
    matrix = compression(data, coil_compression) if data.shape[1] > coil_compression else None
    noise = kspace.noise_std or float(estimate_noise(data, mask, trajectory).square().mean().sqrt())
    maps = _maps(kspace, data, mask, trajectory, 2)
    power = zero_filled(data, maps, mask, trajectory).abs().square()
    images = power.sum(1).sqrt()
    tissue = images[images > 0.05 * images.max()]
    energy = power.sum((0, 2, 3))
    sets = 2 if len(energy) > 1 and energy[1] > SECOND_SET * energy[0] else 1
    operator, y = encode(data, maps[:, :sets], mask, trajectory)
    noise = max(noise, _unexplained(operator, y))
    quick = cg_sense(data, maps[:, :sets], mask, trajectory, iterations=QUICK).abs().square().sum(1).sqrt()
    scale = float(np.percentile(tissue.cpu().numpy(), 99))
    factor = 1.0 if model is None else misfit(operator, y / scale, *_prior(model, str(device)), noise / scale)
    return Survey(scale, noise, sets, quick.cpu().numpy(), matrix, factor)


def _unexplained(operator: LinearOperator, y: Tensor) -> float:
    """The standard deviation of what least squares leave of the samples, over what they leave of noise of deviation 1."""
    # The fit takes a part of the noise along; how much depends on maps, samples and iterations, and is measured.
    noise = torch.where(y != 0, KeyedNoise(0, [0])(0, (1, *y.shape), y.dtype, y.device)[0] * 2**0.5, 0)
    energies = []
    for samples in (y, noise):
        left = samples - operator.forward(operator.solve(operator.adjoint(samples), UNREGULARISED, 30))
        energies.append(float(left.abs().square().sum()))
    # Where the fit takes nearly all, what it leaves says nothing: it is then counted low.
    return (energies[0] / max(energies[1], 0.05 * float(noise.abs().square().sum()))) ** 0.5


def reconstruct_slices(
    kspace: KSpace,
    seen: Survey,
    *,
    method: Method = "diffusion",
    model: Path | None = None,
    items: Sequence[int],
    samples: int = 4,
    steps: int = 40,
    seed: int = 0,
    device: torch.device | str = "cpu",
    precision: str = "bf16",
    coupling: Literal["tv", "none"] = "none",
    spacing: float = 1.0,
    progress: Callable[[float, float], None] | None = None,
) -> SliceImages:
    """Images of some slices of a scan.

    Args:
        kspace: the slices.
        seen: of the scan, see `survey`.
        method: "diffusion" draws `samples` from the posterior, the classical methods give one image.
        model: folder of the prior, for diffusion.
        items: the slices' numbers in the scan, which key the noise.
        samples, steps, seed, precision: of diffusion, see `DiffusionSettings`.
        coupling: of diffusion, tv for slices that follow each other: they are coupled by total variation along z.
        spacing: of the slices in mm: the further apart, the weaker their coupling.
        device: where to work.
        progress: called with (done, total).
    """
    device = torch.device(device)
    data, mask, trajectory = _tensors(kspace, device)
    maps = _maps(kspace, data, mask, trajectory, seen.sets, seen.compression)
    if seen.compression is not None:
        data = compress_coils(data, len(seen.compression), matrix=seen.compression)
    seconds, evaluations = 0.0, 0
    match method:
        case "zero-filled":
            images = zero_filled(data, maps, mask, trajectory)[:, None]
        case "sense":
            images = cg_sense(data, maps, mask, trajectory)[:, None]
        case "tv":
            images = total_variation(data, maps, mask, trajectory, scale=seen.scale)[:, None]
        case _:
            assert model is not None, "diffusion needs a model"
            prior, error = _prior(model, str(device))
            difference = THROUGH_PLANE * spacing if coupling == "tv" else math.inf
            settings = DiffusionSettings(
                steps=steps, samples=samples, seed=seed, precision=precision, misfit=seen.misfit, difference=difference
            )
            operator, y = encode(data[:, None] / seen.scale, maps[:, None], mask, trajectory)
            tick = _Ticks(progress, steps)
            made = posterior_samples(operator, y, prior, error, seen.noise / seen.scale, settings, items, tick)
            images, seconds, evaluations = made.images * seen.scale, made.network_seconds, made.evaluations
    residual = _residual(data, maps, mask, trajectory, images.mean(1))
    return SliceImages(_combine(images).transpose(0, 1).cpu().numpy(), residual, seconds, evaluations)


def _maps(
    kspace: KSpace,
    data: Tensor,
    mask: Tensor | None,
    trajectory: Tensor | None,
    sets: int,
    matrix: Tensor | None = None,
) -> Tensor:
    """The user's maps, or ESPIRiT's: (slices, sets, coils, readout, phase), in virtual coils where there is a matrix."""

    def virtual(coils: Tensor) -> Tensor:
        return coils if matrix is None else compress_coils(coils, len(matrix), matrix=matrix)

    if kspace.sensitivities is not None:
        own = torch.from_numpy(kspace.sensitivities).to(data.device)
        own = virtual(own if own.ndim == 5 else own[:, None])
        # Unit vectors over the coils, so that an image means the same with any maps; zero where a map is.
        return own / own.abs().square().sum(2, keepdim=True).sqrt().clamp_min(1e-12)
    block = None if kspace.calibration is None else virtual(torch.from_numpy(kspace.calibration).to(data.device))
    return estimate_sensitivities(
        virtual(data),
        mask,
        sets=sets,
        calibration=block,
        trajectory=trajectory,
        shape=kspace.shape,
    )


def _combine(images: Tensor) -> Tensor:
    """One complex image of the sets: (slices, samples, readout, phase) from (slices, samples, sets, readout, phase).

    The maps of the sets are orthonormal, so the root-sum-of-squares over the coils is that over the sets; the phase is
    the first set's.
    """
    if images.shape[2] == 1:
        return images[:, :, 0]
    magnitude = images.abs().square().sum(2).sqrt()
    return torch.polar(magnitude, images[:, :, 0].angle())


def _residual(data: Tensor, maps: Tensor, mask: Tensor | None, trajectory: Tensor | None, images: Tensor) -> np.ndarray:
    """|y - A x| / |y| of each slice, (slices,), for images (slices, sets, readout, phase)."""
    operator, y = encode(data, maps, mask, trajectory)
    left = (y - operator.forward(images)).flatten(1).norm(dim=1)
    return (left / y.flatten(1).norm(dim=1).clamp_min(1e-30)).cpu().numpy()


@lru_cache(maxsize=2)
def _prior(folder: Path, device: str) -> tuple[Denoiser, Callable[[float], float]]:
    """A prior and its error curve, kept so that the slices of a scan share it."""
    prior, card = load_prior(folder, device)
    return prior, error_curve(card["denoising_rmse"])


class _Ticks:
    """Counts the levels of a chain and tells the progress."""

    def __init__(self, progress: Callable[[float, float], None] | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)

"""A supervised unrolled network of the prior's size, trained on the same heads: what a method knows that is made for one
kind of measurement. For comparison only: its weights are not part of the package.

    x_(k+1) = (A^H A + l_k I)^-1 (A^H y + l_k D(x_k, k)),     D the same residual U-Net in every step

Source: Aggarwal, Mani, Jacob (2019), MoDL: model-based deep learning architecture for inverse problems,
arXiv:1712.02862, eq. 9 and 10, and section III-D for the gradient.
"""

import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor, nn

from ornstein.core.checkpoints import load_model, save_model
from ornstein.core.networks.unet import UNet
from ornstein.core.noise import key
from ornstein.core.operators import LinearOperator, conjugate_gradient, inner
from ornstein.core.training.loop import TrainingSettings, train
from ornstein.datasets.kspace_simulation import choose_axes, simulate_scan
from ornstein.datasets.sampling import line_mask
from ornstein.domains.mri.operator import MultiCoil, ifft
from ornstein.domains.mri.sensitivities import estimate_sensitivities

ARCHITECTURE = {"channels": (48, 56, 64, 56), "blocks": 2, "patch": 2}  # of the shipped prior
SCANS = ((4.0, "random"), (4.0, "equispaced"), (8.0, "random"), (8.0, "equispaced"))
NOISE = 0.005  # the simulator's default, that of the test


class Solve(torch.autograd.Function):
    """x with (A^H A + shift) x = b; its gradient is the same solve, not one through the iterations."""

    @staticmethod
    def forward(ctx, operator: LinearOperator, b: Tensor, start: Tensor, shift: Tensor, iterations: int) -> Tensor:  # type: ignore[override]
        x = conjugate_gradient(operator.normal, b, start, iterations=iterations, shift=shift)
        ctx.operator, ctx.iterations = operator, iterations
        ctx.save_for_backward(x, shift)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        x, shift = ctx.saved_tensors
        v = conjugate_gradient(ctx.operator.normal, gradient.contiguous(), iterations=ctx.iterations, shift=shift)
        return None, v, None, -inner(v, x).sum(), None


class Unrolled(nn.Module):
    """The unrolled network: (slices, sets, readout, phase) complex from A and A^H y of unit image scale.

    Args:
        steps: how often network and data alternate.
        iterations: of conjugate gradients at each.
        architecture: of the U-Net.
    """

    def __init__(self, steps: int = 5, iterations: int = 6, **architecture) -> None:
        super().__init__()
        self.network = UNet(dims=2, in_channels=2, out_channels=2, **(architecture or ARCHITECTURE))
        self.shifts = nn.Parameter(torch.full((steps + 1,), -3.0))  # logarithms
        self.steps, self.iterations = steps, iterations

    def forward(self, operator: LinearOperator, b: Tensor) -> Tensor:
        x = Solve.apply(operator, b, torch.zeros_like(b), self.shifts[0].exp(), self.iterations)
        for k in range(1, self.steps + 1):
            shift = self.shifts[k].exp()
            z = self._regularise(x, k)
            x = Solve.apply(operator, b + shift * z, z.detach(), shift, self.iterations)
        return x

    def _regularise(self, x: Tensor, k: int) -> Tensor:
        """x + U(x, k) for each set alone, real and imaginary part as channels."""
        channels = torch.view_as_real(x).movedim(-1, 2).flatten(0, 1)
        label = torch.full((len(channels),), (k - 1) / self.steps, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            change = self.network(channels.contiguous(), label)
        z = (channels + change.float()).unflatten(0, x.shape[:2]).movedim(2, -1)
        return torch.view_as_complex(z.contiguous())


def training_heads(folder: Path) -> list[tuple[float, list[tuple[np.ndarray, np.ndarray]]]]:
    """(weight, [(volume, affine), ...]) of the heads and the weights that the prior was trained on."""
    with np.load(folder / "ants_jlf_t1_slabs.npz") as file:
        slabs = [(volume, file["affine"]) for volume in file["image_u10"][5:30].astype(np.float32)]
    heads = [(0.6, slabs)]
    for name, weight in (("fnndsc_eun", 0.15), ("voxelmorph_test_scan", 0.12), ("colin27_papaya", 0.13)):
        image = nib.load(folder / f"{name}_T1w.nii.gz")
        heads.append((weight, [(np.asarray(image.dataobj, np.float32).squeeze(), image.affine)]))
    return heads


class Measurements:
    """Simulated measurements of slices of the training heads, made by the simulator of the test, maps estimated.

    Calling it: (step, generator) gives `y` (2, coils, rows, phase) in image space along the readout, where the problem
    falls apart into rows, so that strips of rows are exact; `maps`, `mask` and the `x0` that belongs to these maps.
    """

    def __init__(
        self, heads: list[tuple[float, list[tuple[np.ndarray, np.ndarray]]]], slices: int = 2, rows: int = 128
    ) -> None:
        self.heads, self.slices, self.rows = heads, slices, rows

    def __call__(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        draw = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        weights = np.array([weight for weight, _ in self.heads])
        group = self.heads[draw.choice(len(weights), p=weights / weights.sum())][1]
        volume, affine = group[draw.integers(len(group))]
        acceleration, pattern = SCANS[step % len(SCANS)]
        seed = int(draw.integers(2**31))
        scan = simulate_scan(volume, affine, coils=8, acceleration=1, noise=0, seed=seed)
        shown = volume.transpose(choose_axes(affine))
        peak = float(np.percentile(volume, 99.9))
        rich = np.flatnonzero((shown > 0.1 * peak).mean((1, 2)) > 0.05)
        chosen = draw.choice(rich, self.slices)
        full = torch.from_numpy(np.concatenate([scan.read(slice(int(n), int(n) + 1)).data for n in chosen]))
        if draw.random() < 0.5:
            full = full.flip(-1).roll(1 - full.shape[-1] % 2, -1)  # the mirrored head
        mask = torch.from_numpy(line_mask(full.shape[-1], acceleration, pattern, draw))
        noise = torch.from_numpy(draw.standard_normal((*full.shape, 2), np.float32))
        measured = (full + NOISE * peak * torch.view_as_complex(noise)) * mask
        maps = estimate_sensitivities(measured, mask)
        scale = unit_of((ifft(measured)[:, None] * maps.conj()).sum(2).abs())
        y, clean = ifft(measured, (-2,)) / scale, ifft(full) / scale
        first = int(draw.integers(max(1, y.shape[-2] - self.rows + 1)))
        strip = slice(first, first + self.rows)
        x0 = (clean[:, None] * maps.conj()).sum(2)
        return {
            "y": y[..., strip, :], "maps": maps[..., strip, :].contiguous(), "mask": mask, "x0": x0[..., strip, :],
        }  # fmt: skip


def unit_of(images: Tensor) -> float:
    """The 99th percentile of the tissue of zero-filled magnitudes, as `survey` finds it."""
    tissue = images[images > 0.05 * images.max()]
    return float(np.percentile(tissue.numpy(), 99))


def loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """|x - x0|^2 of each slice, of complex images."""
    operator = MultiCoil(tensors["maps"], tensors["mask"], axes=(-1,))
    x = model(operator, operator.adjoint(tensors["y"]))
    return 100 * (x - tensors["x0"]).abs().square().flatten(1).mean(1)


def train_unrolled(
    folder: Path,
    heads: list[tuple[float, list[tuple[np.ndarray, np.ndarray]]]],
    minutes: float,
    log: Callable[[str], None] = print,
) -> None:
    """Trains for about so many minutes of this machine and keeps weights and facts in `folder`."""
    torch.manual_seed(key(0))
    model = Unrolled()
    batches = Measurements(heads)
    model(*_first(batches))  # what is made once is not timed
    start = time.monotonic()
    trials = 3
    for step in range(trials):
        loss(model, batches(step, torch.Generator().manual_seed(step)), torch.Generator()).mean().backward()
    model.zero_grad(set_to_none=True)
    # The next batch is made while the step is computed, so that this is at most too long.
    steps = max(1, int(minutes * 60 / ((time.monotonic() - start) / trials)))
    settings = TrainingSettings(
        steps=steps, learning_rate=1e-3, warmup=min(100, steps // 10), decay=0.3, average=50, precision="fp32",
        save_every=100, log_every=25,
    )  # fmt: skip
    log(f"unrolled network: {sum(p.numel() for p in model.parameters()):,} weights, {steps} steps")
    start = time.monotonic()
    average = train(model, batches, loss, settings, folder / "training", log=log)
    card = {"steps": steps, "slices": steps * batches.slices, "minutes": round((time.monotonic() - start) / 60, 1)}
    save_model(folder, average.state_dict(), card)


def _first(batches: Measurements) -> tuple[LinearOperator, Tensor]:
    tensors = batches(0, torch.Generator().manual_seed(0))
    operator = MultiCoil(tensors["maps"], tensors["mask"], axes=(-1,))
    return operator, operator.adjoint(tensors["y"])


def load_unrolled(folder: Path) -> tuple[Unrolled, dict]:
    """The trained network and what is known of its training."""
    tensors, card = load_model(folder)
    model = Unrolled()
    model.load_state_dict(tensors)
    return model.to(memory_format=torch.channels_last).eval(), card

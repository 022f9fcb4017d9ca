"""Multi-coil encoding: from a complex image to k-space, on a Cartesian grid or along any trajectory.

Everything is a centred, orthonormal Fourier transform. With the coil maps s_c of one or two sets i,

    y_c = M F sum_i s_(i,c) x_i

An image is (*batch, sets, readout, phase), maps (*batch, sets, coils, readout, phase), k-space
(*batch, coils, readout, phase) or (*batch, coils, spokes, samples).
"""

import cmath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import finufft
import numpy as np
import torch
from torch import Tensor

from ornstein.core.operators import LinearOperator, eigen

GRAM_ENTRIES = 64 << 20  # at most in all matrices of a batch of slices: half a gigabyte
BLOCK = 32  # rows whose matrices are worked on together, as wide as the widest of them


def fft(x: Tensor, axes: tuple[int, ...] = (-2, -1)) -> Tensor:
    """The centred orthonormal Fourier transform along `axes`: image to k-space."""
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, axes), dim=axes, norm="ortho"), axes)


def ifft(y: Tensor, axes: tuple[int, ...] = (-2, -1)) -> Tensor:
    """The inverse of `fft`: k-space to image."""
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(y, axes), dim=axes, norm="ortho"), axes)


def _ramp(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """exp(2 pi i n (size // 2) / size): times this on both sides, a plain transform is centred up to a constant."""
    turn = torch.arange(size, dtype=torch.float64) * (size // 2) / size
    return torch.polar(torch.ones(size, dtype=torch.float64), 2 * torch.pi * (turn % 1)).to(device=device, dtype=dtype)


@dataclass(frozen=True, eq=False)
class MultiCoil(LinearOperator):
    """Cartesian encoding y = M F (sum over sets of maps times image); unsampled positions of y are zero.

    With `axes=(-1,)` the readout is not transformed: for k-space that was brought to image space along the readout
    (`ifft(kspace, (-2,))`), which a mask over the phase axis allows. Then A^H A is one Hermitian matrix a readout row,

        G_r[i, j] = p[i - j] sum_c conj(s_(r,c,i)) s_(r,c,j),       p the point spread function of the mask,

    and `normal` multiplies by these, restricted to the support of the maps, where that is faster than the transforms.

    Args:
        sensitivities: complex maps, broadcastable to (*batch, sets, coils, readout, phase).
        mask: bool, broadcastable to (readout, phase); (phase,) where whole lines are sampled.
        axes: the transformed axes, (-2, -1) or (-1,).
    """

    sensitivities: Tensor
    mask: Tensor
    axes: tuple[int, ...] = (-2, -1)

    def __post_init__(self) -> None:
        shape = self.sensitivities.shape
        assert len(shape) >= 4, f"sensitivities {tuple(shape)} lack (sets, coils, readout, phase)"
        assert self.mask.dtype == torch.bool, f"mask {self.mask.dtype}"
        mask = self.mask.shape
        fits = len(mask) in (1, 2) and mask[-1] == shape[-1] and (len(mask) == 1 or mask[0] in (1, shape[-2]))
        assert fits, f"mask {tuple(mask)} on {tuple(shape[-2:])}"
        assert self.axes in ((-2, -1), (-1,)), f"axes {self.axes}"

    @cached_property
    def _modulation(self) -> Tensor:
        """The product of the ramps along the transformed axes, (readout or 1, phase)."""
        maps = self.sensitivities
        ramp = _ramp(maps.shape[-1], maps.device, maps.dtype)
        return ramp * _ramp(maps.shape[-2], maps.device, maps.dtype)[:, None] if -2 in self.axes else ramp[None]

    @cached_property
    def _maps(self) -> Tensor:
        """The maps times the ramps, so that plain transforms serve and nothing is ever shifted."""
        return self.sensitivities * self._modulation

    @cached_property
    def _sampling(self) -> Tensor:
        """The mask times ramps and constant, which a centred transform still needs on the k-space side."""
        turn = sum((self.sensitivities.shape[axis] // 2) ** 2 / self.sensitivities.shape[axis] for axis in self.axes)
        return self.mask * self._modulation * cmath.exp(-2j * cmath.pi * (turn % 1))

    def forward(self, x: Tensor) -> Tensor:
        coil_images = (x.unsqueeze(-3) * self._maps).sum(-4)
        return torch.fft.fftn(coil_images, dim=self.axes, norm="ortho").mul_(self._sampling)

    def adjoint(self, y: Tensor) -> Tensor:
        coil_images = torch.fft.ifftn(y * self._sampling.conj(), dim=self.axes, norm="ortho")
        return (coil_images.unsqueeze(-4) * self._maps.conj()).sum(-3)

    def solve(self, b: Tensor, shift: Tensor | float, iterations: int, start: Tensor | None = None) -> Tensor:
        """Exact, by the eigenvectors of the rows' matrices, where whole lines are sampled."""
        return super().solve(b, shift, iterations, start) if self._rows is None else self._rows.solve(b, shift)

    def normal(self, x: Tensor) -> Tensor:
        """A^H A x by Fourier transforms, on the CPU coil by coil, so that the work stays in the cache."""
        maps, weight = self._maps, self.mask.to(x.real.dtype)
        coils = maps.shape[-3]
        total = torch.zeros_like(x)
        for part in maps.split(1 if x.device.type == "cpu" else coils, dim=-3):
            spectrum = torch.fft.fftn((x.unsqueeze(-3) * part).sum(-4), dim=self.axes).mul_(weight)
            coil_images = torch.fft.ifftn(spectrum, dim=self.axes)
            total += (coil_images.unsqueeze(-4) * part.conj()).sum(-3)
        return total

    @cached_property
    def _rows(self) -> "RowGram | None":
        """The matrices of A^H A, where whole lines are sampled and they are worth their memory."""
        if self.axes != (-1,) or (self.mask.ndim == 2 and self.mask.shape[0] > 1):
            return None
        index, rows, widths = RowGram.support(self._maps)
        if len(rows) == 0 or index.numel() * index.shape[-1] > GRAM_ENTRIES:
            return None
        return RowGram.build(self._maps, self.mask.reshape(-1), index, rows, widths)


@dataclass(frozen=True, eq=False)
class RowGram:
    """x -> G x with one Hermitian matrix for each readout row, over the places where the maps are not zero.

    Args:
        matrices: of blocks of rows, complex (*maps' batch, block's rows, n, n), with the n of a block's widest row.
        index: (*maps' batch, rows, n), places among the sets * phase of a row, each at most once, those with maps first.
        rows: (rows,), the readout rows that have a matrix.
    """

    matrices: Sequence[Tensor]
    index: Tensor
    rows: Tensor

    @staticmethod
    def support(maps: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """`index`, `rows` and the widths of the blocks from maps (*batch, sets, coils, readout, phase)."""
        inside = (maps != 0).any(-3).movedim(-3, -2).flatten(-2)  # (*batch, readout, sets * phase)
        counts = inside.sum(-1).reshape(-1, inside.shape[-2]).amax(0)  # the most in any item of the batch
        rows = counts.nonzero()[:, 0]
        # Support first; shorter rows are filled up with places outside, whose maps and so whose matrix entries are 0.
        order = torch.argsort(inside.to(torch.uint8), dim=-1, descending=True, stable=True)
        widths = [int(part.max()) for part in counts[rows].split(BLOCK)] if len(rows) else []
        return order[..., rows, : max(widths, default=1)].contiguous(), rows, widths

    @classmethod
    def build(cls, maps: Tensor, mask: Tensor, index: Tensor, rows: Tensor, widths: Sequence[int]) -> "RowGram":
        """The matrices of maps (ramps do not matter: they cancel) and a mask (phase,) in the order of a plain FFT."""
        coils, phase = maps.shape[-3], maps.shape[-1]
        here = maps[..., rows, :].movedim(-2, -4).movedim(-2, -3).flatten(-2)  # (*batch, rows, coils, sets * phase)
        here = here.gather(-1, index.unsqueeze(-2).expand(*index.shape[:-1], coils, index.shape[-1]))
        spread = torch.fft.ifft(mask.to(maps.dtype))
        blocks = []
        for block, place, n in zip(here.split(BLOCK, -3), (index % phase).split(BLOCK, -2), widths, strict=True):
            block, place = block[..., :n], place[..., :n]
            blocks.append((block.mH @ block).mul_(spread[(place.unsqueeze(-1) - place.unsqueeze(-2)) % phase]))
        return cls(blocks, index, rows)

    @cached_property
    def _eigen(self) -> list[tuple[Tensor, Tensor]]:
        """Eigenvalues (*maps' batch, rows, n), not negative, and eigenvectors of the blocks' matrices."""
        pairs = [eigen(block) for block in self.matrices]
        return [(values.clamp_min(0), vectors) for values, vectors in pairs]

    def solve(self, b: Tensor, shift: Tensor | float) -> Tensor:
        """(G + shift I)^-1 b for b of shape (*batch, sets, readout, phase) and one shift above 0."""
        shift = torch.as_tensor(shift, dtype=b.real.dtype, device=b.device)
        assert shift.ndim == 0, f"one shift for all, not {tuple(shift.shape)}"

        def divide(columns: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
            # V^H c as the conjugate of V^T conj(c): conjugating the few columns spares a copy of all eigenvectors.
            parts = (vectors.mT @ columns.conj()).conj() / (values.unsqueeze(-1) + shift)
            return vectors @ parts.resolve_conj()

        return self._apply(b, b / shift, divide, self._eigen)

    def _apply(
        self, x: Tensor, outside: Tensor, function: Callable[..., Tensor], blocks: Sequence[Sequence[Tensor]]
    ) -> Tensor:
        """function(columns, *tables) of the places with maps, and `outside` elsewhere.

        Images that share maps are columns (maps' batch, rows, n, images) of one product; a block's tables, (*maps' batch,
        rows, ...), come with one axis for the maps' batch.
        """
        *batch, sets, readout, phase = x.shape
        lead: tuple[int, ...] = tuple(self.index.shape[:-2])
        lead = (1,) * (len(batch) - len(lead)) + lead  # the maps' batch against the images'
        shared = [axis for axis, size in enumerate(lead) if size == 1]
        own = [axis for axis, size in enumerate(lead) if size > 1]
        count = torch.Size(lead).numel()

        def rows_of(image: Tensor) -> Tensor:
            flat = image.movedim(-3, -2).flatten(-2).permute(*own, *shared, len(batch), len(batch) + 1)
            return flat.reshape(count, -1, readout, sets * phase)

        flat, result = rows_of(x), rows_of(outside).clone()
        index = self.index.reshape(count, 1, *self.index.shape[-2:]).expand(-1, flat.shape[1], -1, -1)
        done = 0
        for tables in blocks:
            tables = [table.reshape(count, *table.shape[self.index.ndim - 2 :]) for table in tables]
            n, last = tables[0].shape[-1], done + tables[0].shape[1]
            rows, place = self.rows[done:last], index[:, :, done:last, :n]
            columns = flat[:, :, rows].gather(-1, place).permute(0, 2, 3, 1)
            product = function(columns, *tables).permute(0, 3, 1, 2)
            result[:, :, rows] = result[:, :, rows].scatter_(-1, place, product)
            done = last
        ordered = [batch[axis] for axis in (*own, *shared)]
        result = result.reshape(*ordered, readout, sets, phase).movedim(-2, -3)
        return result.permute(*np.argsort([*own, *shared]).tolist(), *range(len(batch), len(batch) + 3))


@dataclass(frozen=True, eq=False)
class NonCartesian(LinearOperator):
    """Encoding along a trajectory, y_(c,j) = (readout phase)^(-1/2) sum_n s_(c,n) x_n exp(-2 pi i k_j . n / size).

    n counts from the centre pixel (size // 2), so that at integer k this is the centred orthonormal transform. The
    sums are FINUFFT's, on the CPU; A^H A is a convolution, done by transforms of twice the size on any device.

    Args:
        sensitivities: complex maps, broadcastable to (*batch, sets, coils, readout, phase).
        trajectory: (spokes, samples, 2), (readout, phase) coordinates in 1 / field of view.
        accuracy: relative accuracy of the sums, 1e-6 for float32.

    Source: Barnett, Magland and af Klinteberg (2019), A parallel nonuniform fast Fourier transform library,
    arXiv:1808.06736; Wajer and Pruessmann (2001), Major speedup of reconstruction for sensitivity encoding with
    arbitrary trajectories, ISMRM 9, 767.
    """

    sensitivities: Tensor
    trajectory: Tensor
    accuracy: float = 1e-6

    def __post_init__(self) -> None:
        assert self.sensitivities.ndim >= 4, f"{tuple(self.sensitivities.shape)} lack (sets, coils, readout, phase)"
        assert self.trajectory.ndim == 3 and self.trajectory.shape[-1] == 2, (
            f"trajectory {tuple(self.trajectory.shape)}"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """The image matrix (readout, phase)."""
        return self.sensitivities.shape[-2], self.sensitivities.shape[-1]

    def _points(self, dtype: type) -> list[np.ndarray]:
        """The trajectory in radians a pixel, one array an axis."""
        k = self.trajectory.detach().cpu().double().reshape(-1, 2).numpy()
        return [np.ascontiguousarray(2 * np.pi * k[:, axis] / self.shape[axis], dtype=dtype) for axis in (0, 1)]

    def _sum(self, kind: int, values: Tensor) -> Tensor:
        """FINUFFT of type 1 (samples to image) or 2 (image to samples), (n, ...) to (n, ...)."""
        wide = values.dtype == torch.complex128
        array = np.ascontiguousarray(values.detach().cpu().resolve_conj().numpy())
        plan = finufft.Plan(
            kind,
            self.shape,
            n_trans=len(array),
            eps=self.accuracy,
            isign=1 if kind == 1 else -1,
            dtype="complex128" if wide else "complex64",
            nthreads=torch.get_num_threads(),
        )
        plan.setpts(*self._points(np.float64 if wide else np.float32))
        result = plan.execute(array).reshape(len(array), *(self.shape if kind == 1 else (-1,)))
        return torch.from_numpy(result).to(values.device) / float(np.sqrt(np.prod(self.shape)))

    def forward(self, x: Tensor) -> Tensor:
        coil_images = (x.unsqueeze(-3) * self.sensitivities).sum(-4)
        batch = coil_images.shape[:-2]
        return self._sum(2, coil_images.reshape(-1, *self.shape)).reshape(*batch, *self.trajectory.shape[:-1])

    def adjoint(self, y: Tensor) -> Tensor:
        coil_images = self._sum(1, y.reshape(-1, self.trajectory.shape[:-1].numel()))
        coil_images = coil_images.reshape(*y.shape[:-2], *self.shape)
        return (coil_images.unsqueeze(-4) * self.sensitivities.conj()).sum(-3)

    @cached_property
    def _spectrum(self) -> Tensor:
        """The transform of the point spread function on twice the matrix, real because the function is Hermitian."""
        double = [2 * size for size in self.shape]
        ones = np.ones(self.trajectory.shape[:-1].numel(), dtype=np.complex128)
        spread = finufft.nufft2d1(*self._points(np.float64), ones, tuple(double), eps=1e-12, isign=1)
        spread[0, :] = spread[:, 0] = 0  # the shift by -size, which no two pixels have
        spectrum = np.fft.fft2(np.fft.ifftshift(spread)).real / np.prod(self.shape)
        real = self.sensitivities.real.dtype
        return torch.from_numpy(spectrum).to(device=self.sensitivities.device, dtype=real)

    def normal(self, x: Tensor) -> Tensor:
        readout, phase = self.shape
        coil_images = (x.unsqueeze(-3) * self.sensitivities).sum(-4)
        spectrum = torch.fft.fft2(coil_images, s=(2 * readout, 2 * phase)).mul_(self._spectrum)
        coil_images = torch.fft.ifft2(spectrum)[..., :readout, :phase]
        return (coil_images.unsqueeze(-4) * self.sensitivities.conj()).sum(-3)

    @cached_property
    def density(self) -> Tensor:
        """Weights (spokes, samples) that even out how densely the samples lie, so that A^H W y is near the image.

        The fixed point w = w / (C w), with C the convolution by a positive kernel about two samples wide: the
        spectrum of a triangle over the field of view.

        Source: Pipe and Menon (1999), Sampling density compensation in MRI: rationale and an iterative numerical
        solution, Magnetic Resonance in Medicine 41, 179, eq. 9.
        """
        readout, phase = (1 - 2 * (torch.arange(size) - size // 2).abs() / size for size in self.shape)
        triangle = (readout[:, None] * phase).to(torch.complex64)[None, None]
        plain, kernel = (
            NonCartesian(maps, self.trajectory.cpu(), self.accuracy) for maps in (torch.ones_like(triangle), triangle)
        )
        weights = torch.ones(1, *self.trajectory.shape[:-1], dtype=torch.complex64)
        for _ in range(15):
            weights = weights / kernel.forward(plain.adjoint(weights)).abs()
        return weights[0].real.to(self.sensitivities.device)


def encode(
    kspace: Tensor, sensitivities: Tensor, mask: Tensor | None = None, trajectory: Tensor | None = None
) -> tuple[LinearOperator, Tensor]:
    """The operator of a measurement and the data that it explains.

    Where whole lines are sampled, the data are brought to image space along the readout, since the problem then falls
    apart into its rows and costs a fraction; the operator says so in its `axes`.

    Args:
        kspace: (*batch, coils, readout, phase) complex, or (*batch, coils, spokes, samples) with a trajectory.
        sensitivities: broadcastable to (*batch, sets, coils, readout, phase).
        mask: bool, broadcastable to (readout, phase); all sampled where it is None.
        trajectory: (spokes, samples, 2) in 1 / field of view, instead of a mask.

    Returns:
        The operator and y, of its range.
    """
    if trajectory is not None:
        return NonCartesian(sensitivities, trajectory), kspace
    if mask is None:
        mask = torch.ones(kspace.shape[-1], dtype=torch.bool, device=kspace.device)
    lines = mask.reshape(-1, mask.shape[-1])
    if bool((lines == lines[:1]).all()):
        return MultiCoil(sensitivities, lines[0], axes=(-1,)), ifft(kspace * lines[0], (-2,))
    return MultiCoil(sensitivities, mask), kspace * mask

"""A prior of slices for a volume: each slice has the prior's own, and neighbours are coupled by total variation along z."""

from collections.abc import Callable

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.inverse.posterior import LinearPosterior
from ornstein.core.operators import LinearOperator
from ornstein.core.paths import expand

FEW = 4
"""Iterations of the smoothing where it is done once: at most levels the weight is small, and this is near the minimum."""


class CoupledPosterior(LinearPosterior):
    """`LinearPosterior` of slices that know of each other: E[x0 | x_t, y] stands for the minimum of

        |y - A x|^2 / 2 noise^2 + |x - x0_hat|^2 / 2 r^2 + sum over neighbours |x_(z+1) - x_z| / difference,

    by ADMM between the first two terms, which are each slice's own and solved as `LinearPosterior` solves them, and the
    last, which is solved along z. In one round, the default, the last two terms are solved first, and their minimum v takes the
    place of x0_hat before the data: one solution for the data, as without, and on heads as good as more rounds
    (benchmarks/mri_coupling.py). Memory and time grow with the number of slices; the prior is asked as often as without.

    With the coupling gone (`difference` infinite), or no neighbour, it is `LinearPosterior`.

    Args:
        prior, operator, measurement, noise, error, iterations: see `LinearPosterior`; of shape () where that allows (batch,).
        slices: of the volume, at least 1: the batch is (slices * samples, ...), the samples of a slice following each other.
        difference: of neighbours, the mean of its absolute value that the prior of a volume would have (that of a Laplace
            distribution), in the data's units, above 0.
        joint: axes of x_t over which a difference's absolute value is taken together, those of real and imaginary part, say.
        rounds: 1, see above, or more of ADMM.

    Source: Chung et al. (2023), Solving 3D inverse problems using pre-trained 2D diffusion models (DiffusionMBIR),
    arXiv:2211.10655, eq. 9 to 12, with the proximal term of DDS (arXiv:2303.05754) in place of their unregularised fit.
    """

    def __init__(
        self,
        prior: Denoiser,
        operator: LinearOperator,
        measurement: Tensor,
        noise: Tensor | float,
        error: Callable[[float], float],
        iterations: int = 5,
        *,
        slices: int,
        difference: float,
        joint: tuple[int, ...] = (),
        rounds: int = 1,
    ) -> None:
        super().__init__(prior, operator, measurement, noise, error, iterations)
        if not difference > 0 or rounds < 1 or slices < 1:
            raise ValueError(f"difference {difference} above 0, rounds {rounds} and slices {slices} at least 1")
        self.slices, self.difference, self.joint, self.rounds = slices, difference, joint, rounds

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        if self.slices == 1 or self.difference == float("inf"):
            return super().forward(x_t, t, y, **conditions)
        x0 = self.prior(x_t, t, y, **conditions)
        r = self.error(float(torch.exp(-self.path.log_snr(t))))
        shift = torch.as_tensor((self.noise / r) ** 2, dtype=torch.float64)
        if self.rounds == 1:
            v, _ = self._smooth(x0, r**2 / self.difference, None, FEW)
            return self.operator.solve(self.back_projection + expand(shift, x0) * v, shift, self.iterations, start=v)
        v, dual = self._smooth(x0, r**2 / self.difference, None)
        # The penalty of ADMM is 1 / r^2 as well: a slice is pulled to its x0_hat and to its neighbours' v alike.
        shift = 2 * shift
        gap, x = torch.zeros_like(x0), x0
        for k in range(self.rounds):
            middle = (x0 + v - gap) / 2
            x = self.operator.solve(self.back_projection + expand(shift, x0) * middle, shift, self.iterations, start=x)
            if k + 1 < self.rounds:
                v, dual = self._smooth(x + gap, r**2 / self.difference, dual)
                gap = gap + x - v
        return x

    def _smooth(self, u: Tensor, weight: float, dual: Tensor | None, iterations: int = 12) -> tuple[Tensor, Tensor]:
        volume = u.unflatten(0, (self.slices, -1))
        axes = tuple(axis + 1 if axis > 0 else axis for axis in self.joint)
        smooth, dual = smooth_along(volume, weight, axes, iterations, dual)
        return smooth.flatten(0, 1), dual


def smooth_along(
    u: Tensor, weight: float, joint: tuple[int, ...] = (), iterations: int = 12, dual: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """argmin |v - u|^2 / 2 + weight sum |v_(z+1) - v_z| along the first axis: v, and the dual to go on from.

    By accelerated projected gradients on the dual, v = u - D^T p with |p| <= weight.

    Args:
        u: (slices, ...), real, at least two slices.
        weight: at least 0, in the units of u.
        joint: axes over which |.| is the Euclidean norm; value by value by default.
        iterations: at least 1.
        dual: of an earlier call on a u like this one, (slices - 1, ...).

    Source: Chambolle (2004), An algorithm for total variation minimization and applications; Beck and Teboulle (2009),
    Fast gradient-based algorithms for constrained total variation image denoising problems, IEEE TIP 18.
    """
    p = u.new_zeros(len(u) - 1, *u.shape[1:]) if dual is None else dual
    ahead, momentum = p, 1.0
    for _ in range(iterations):
        step = ahead + _apart(u, ahead).diff(dim=0) / 4  # 4 bounds the largest eigenvalue of D D^T
        if joint:
            size = step.square().sum(joint, keepdim=True).sqrt()
            new = step * (weight / size.clamp(min=max(weight, 1e-30)))
        else:
            new = step.clamp(-weight, weight)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead, p, momentum = new + (momentum - 1) / following * (new - p), new, following
    return _apart(u, p), p


def _apart(u: Tensor, p: Tensor) -> Tensor:
    """u - D^T p, for D v = v_(z+1) - v_z."""
    v = u.clone()
    v[:-1] += p
    v[1:] -= p
    return v

"""The peers that `posterior.py` compares with, each as one function from a problem to samples, at the settings that serve it.

All are asked for samples of all y in one batch, but those whose result depends on the batch around them: these see one y at
a time. Evaluations and vector-Jacobian products are counted by the denoiser that they are given.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from posterior_targets import NOISE, PATH, SIZE, VALUES, WIDE, Problem
from torch import Tensor

from ornstein.core.denoisers import Denoiser

LOW, HIGH = 0.002, 80.0
Run = Callable[[Problem, Denoiser, int], Tensor]


@dataclass(frozen=True)
class Method:
    """A posterior sampler.

    Args:
        library, name: of it.
        run: (problem, denoiser, samples) -> (problems, samples, d).
        quick: whether `--quick` measures it.
        alone: whether it sees one y at a time.
    """

    library: str
    name: str
    run: Run
    quick: bool = True
    alone: bool = False


def azula() -> Iterator[Method]:
    from azula import sample as samplers
    from azula.denoise import Denoiser as Theirs
    from azula.denoise import DiracPosterior
    from azula.guidance.diffpir import DiffPIRDenoiser
    from azula.guidance.dps import DPSSampler
    from azula.guidance.mmps import MMPSDenoiser
    from azula.guidance.pgdm import PGDMSampler
    from azula.guidance.tds import TDSSampler
    from azula.guidance.tmpd import TMPDenoiser
    from azula.linalg.covariance import IsotropicCovariance
    from azula.noise import Schedule

    class Karras(Schedule):
        """The levels of Karras et al. in equal steps of t, on which its samplers do better than on its own schedules."""

        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            low, high = LOW ** (1 / 7), HIGH ** (1 / 7)
            return torch.ones_like(t), (low + t * (high - low)) ** 7

    class Wrapped(Theirs):
        def __init__(self, denoiser: Denoiser) -> None:
            super().__init__()
            self.inner, self.schedule = denoiser, Karras()

        def forward(self, x: Tensor, t: Tensor, **_: object) -> DiracPosterior:
            level = self.schedule(t.to(WIDE))[1].reshape(-1)[0]
            return DiracPosterior(self.inner(x, PATH.time_of(-level.log())))

    def start(problem: Problem, samples: int) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        y = problem.y.repeat_interleave(samples, dim=0)
        return HIGH * torch.randn(len(y), SIZE, dtype=WIDE), y, lambda x: x @ problem.matrix.mT

    def split(x: Tensor, problem: Problem) -> Tensor:
        return x.reshape(len(problem.y), -1, SIZE)

    def guided(guide: Callable[..., Theirs], sampler: type, steps: int, **settings: int) -> Run:
        def run(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
            x, y, forward = start(problem, samples)
            wrapped = guide(Wrapped(denoiser), y, forward)
            return split(sampler(wrapped, steps=steps, silent=True, dtype=WIDE, **settings)(x), problem)

        return run

    def mmps(iterations: int) -> Callable[..., Theirs]:
        noise = IsotropicCovariance(torch.tensor(NOISE**2, dtype=WIDE))
        return lambda denoiser, y, forward: MMPSDenoiser(denoiser, y, forward, noise, iterations=iterations)

    def pgdm(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
        x, y, forward = start(problem, samples)
        inverse = torch.linalg.pinv(problem.matrix)
        sampler = PGDMSampler(
            Wrapped(denoiser), y, forward, lambda v: v @ inverse.mT, eta=1.0, steps=100, silent=True, dtype=WIDE
        )
        return split(sampler(x), problem)

    def dps(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
        x, y, forward = start(problem, samples)
        sampler = DPSSampler(Wrapped(denoiser), y, forward, zeta=1.0, steps=1000, silent=True, dtype=WIDE)
        return split(sampler(x), problem)

    def twisted(steps: int) -> Run:
        def run(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
            x, y, forward = start(problem, samples)

            def twist(x0: Tensor, sigma: Tensor) -> Tensor:
                # The isotropic twist: its interface has no place for a covariance that depends on x_t.
                r2 = float(sigma) ** 2 / (1 + float(sigma) ** 2)
                total = r2 * problem.matrix @ problem.matrix.mT + NOISE**2 * torch.eye(VALUES, dtype=WIDE)
                normal = torch.distributions.MultivariateNormal(torch.zeros(VALUES, dtype=WIDE), total)
                return normal.log_prob(y - forward(x0))

            return split(TDSSampler(Wrapped(denoiser), twist, steps=steps, silent=True, dtype=WIDE)(x), problem)

        return run

    yield Method("azula", "MMPS 5, zEAB3, 10", guided(mmps(5), samplers.zEABSampler, 10, order=3))
    yield Method("azula", "MMPS 1, DDPM, 100", guided(mmps(1), samplers.DDPMSampler, 100))
    yield Method("azula", "twisted SMC, 50", twisted(50), alone=True)
    yield Method("azula", "MMPS 8, zEAB3, 20", guided(mmps(8), samplers.zEABSampler, 20, order=3), quick=False)
    yield Method("azula", "MMPS 5, DDPM, 100", guided(mmps(5), samplers.DDPMSampler, 100), quick=False)
    tmpd = lambda denoiser, y, forward: TMPDenoiser(denoiser, y, forward, NOISE**2)  # noqa: E731
    yield Method("azula", "TMPD, DDPM, 100", guided(tmpd, samplers.DDPMSampler, 100), quick=False)
    diffpir = lambda denoiser, y, forward: DiffPIRDenoiser(denoiser, y, forward, NOISE**2, iterations=5)  # noqa: E731
    yield Method("azula", "DiffPIR, DDPM, 100", guided(diffpir, samplers.DDPMSampler, 100), quick=False)
    yield Method("azula", "PiGDM, 100", pgdm, quick=False)
    yield Method("azula", "DPS, 1000", dps, quick=False, alone=True)  # the slowest


def azula_dps() -> Method:
    """The slowest of azula's, by itself."""
    return list(azula())[-1]


def deepinv() -> Iterator[Method]:
    import numpy as np
    from deepinv.optim.data_fidelity import L2
    from deepinv.physics import DecomposablePhysics, GaussianNoise, LinearPhysics
    from deepinv.sampling import DDRM, DiffPIR

    def ddrm(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
        u, values, v = torch.linalg.svd(problem.matrix, full_matrices=True)
        mask = torch.zeros(1, 1, 1, SIZE, dtype=WIDE)
        mask[..., :VALUES] = values

        def pad(y: Tensor) -> Tensor:
            return torch.nn.functional.pad(y, (0, SIZE - VALUES))

        physics = DecomposablePhysics(
            U=lambda z: z[..., :VALUES] @ u.mT, U_adjoint=lambda y: pad(y @ u),
            V=lambda z: z @ v, V_adjoint=lambda x: x @ v.mT, mask=mask, noise_model=GaussianNoise(NOISE),
        )  # fmt: skip
        levels = np.exp(np.linspace(math.log(HIGH), math.log(LOW), 100))

        def ask(x: Tensor, sigma: float) -> Tensor:
            return denoiser(x.reshape(-1, SIZE), PATH.time_of(-math.log(sigma))).reshape(x.shape)

        y = problem.y.repeat_interleave(samples, dim=0)[:, None, None]
        # Their mask is repeated for each row of y already.
        return DDRM(ask, sigmas=levels)(y, physics).reshape(len(problem.y), samples, SIZE)

    def diffpir(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
        span = 16.0  # it takes images in [0, 1], and clips: the data's range is put there

        def ask(x: Tensor, sigma: Tensor, **_: object) -> Tensor:
            level = min(max(float(torch.as_tensor(sigma).reshape(-1)[0]) * span, LOW), HIGH)
            flat = ((x - 0.5) * span).reshape(-1, SIZE)
            return denoiser(flat, PATH.time_of(-math.log(level))).reshape(x.shape) / span + 0.5

        a = problem.matrix * span
        physics = LinearPhysics(
            A=lambda x, **_: x @ a.mT, A_adjoint=lambda y, **_: y @ a, noise_model=GaussianNoise(NOISE)
        )
        y = (problem.y + 0.5 * a.sum(1)).repeat_interleave(samples, dim=0)[:, None, None]
        model = DiffPIR(ask, L2(), sigma=NOISE, max_iter=100)
        x = model(y, physics, x_init=torch.full((len(y), 1, 1, SIZE), 0.5, dtype=WIDE))
        return ((x - 0.5) * span).reshape(len(problem.y), samples, SIZE)

    yield Method("deepinv", "DDRM, 100", ddrm)
    yield Method("deepinv", "DiffPIR, 100", diffpir, quick=False)


LIBRARIES = {"azula": azula, "deepinv": deepinv}


def installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None

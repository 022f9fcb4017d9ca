"""The peers that `solvers.py` compares with, each as one function from noise to data on the same noise levels.

All work on x = x0 + sigma z and take denoise(x, sigma) -> x0_hat, x at the first level, and the levels (steps + 1,) in
float64, falling; whatever scaling a library wants is done inside. None of them is asked to end at sigma = 0.
"""

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
Sampler = Callable[[Denoise, Tensor, Tensor], Tensor]
WIDE = torch.float64


@dataclass(frozen=True)
class Peer:
    """A sampler of another library.

    Args:
        library, name: of the sampler; the name ends with its grid.
        run: the function.
        cost: evaluations a step.
    """

    library: str
    name: str
    run: Sampler
    cost: int = 1

    @property
    def grid(self) -> str:
        """K, L or U; see `GRIDS` in solvers.py."""
        return self.name[-1]


def k_diffusion() -> Iterator[Peer]:
    # Its samplers alone: the package itself would import CLIP, wandb and more, which they do not use.
    spec = importlib.util.find_spec("k_diffusion")
    assert spec is not None and spec.origin is not None
    package = ModuleType("k_diffusion")
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules.setdefault("k_diffusion", package)
    from k_diffusion import sampling as k

    def over(sampler: Callable[..., Tensor], **settings: object) -> Sampler:
        return lambda denoise, x, sigmas: sampler(denoise, x, sigmas.to(x.dtype), disable=True, **settings)

    def fast(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
        low, high = float(sigmas[-1]), float(sigmas[0])
        return k.sample_dpm_fast(denoise, x, low, high, len(sigmas) - 1, disable=True)

    def silent(*_: object) -> float:
        return 0.0

    yield Peer("k-diffusion", "DPM++ 2M K", over(k.sample_dpmpp_2m))
    yield Peer("k-diffusion", "DPM++ 3M K", over(k.sample_dpmpp_3m_sde, eta=0.0, noise_sampler=silent))
    yield Peer("k-diffusion", "DPM++ 2S K", over(k.sample_dpmpp_2s_ancestral, eta=0.0), 2)
    yield Peer("k-diffusion", "DPM fast L", fast)
    yield Peer("k-diffusion", "DPM 2 K", over(k.sample_dpm_2), 2)
    yield Peer("k-diffusion", "Heun K", over(k.sample_heun), 2)
    yield Peer("k-diffusion", "LMS K", over(k.sample_lms))


def azula() -> Iterator[Peer]:
    from azula import sample as a

    class Schedule(torch.nn.Module):
        """The given levels at t = 1, ..., 0 in equal steps."""

        def __init__(self, sigmas: Tensor) -> None:
            super().__init__()
            self.sigmas = sigmas

        def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
            return torch.ones_like(t), self.sigmas[((1 - t) * (len(self.sigmas) - 1)).round().long()]

    class Posterior:
        def __init__(self, mean: Tensor) -> None:
            self.mean = mean

    class Wrapped:
        def __init__(self, denoise: Denoise, sigmas: Tensor) -> None:
            self.denoise, self.schedule = denoise, Schedule(sigmas)

        def __call__(self, x: Tensor, t: Tensor) -> Posterior:
            return Posterior(self.denoise(x, self.schedule(t)[1]))

    def of(kind: type, **settings: int) -> Sampler:
        def run(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
            return kind(Wrapped(denoise, sigmas), steps=len(sigmas) - 1, silent=True, dtype=WIDE, **settings)(x)

        return run

    yield Peer("azula", "zEAB3 K", of(a.zEABSampler, order=3))
    yield Peer("azula", "zEAB2 K", of(a.zEABSampler, order=2))
    yield Peer("azula", "xEAB3 K", of(a.xEABSampler, order=3))
    yield Peer("azula", "vAB3 U", of(a.vABSampler, order=3))
    yield Peer("azula", "vAB3 K", of(a.vABSampler, order=3))
    yield Peer("azula", "zAB3 K", of(a.zABSampler, order=3))
    yield Peer("azula", "DDIM K", of(a.DDIMSampler))
    yield Peer("azula", "Heun K", of(a.HeunSampler), 2)


def diffusers() -> Iterator[Peer]:
    from diffusers import (
        DDIMScheduler,
        DEISMultistepScheduler,
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
    )

    def ddim(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
        n, a = len(sigmas), torch.rsqrt(1 + sigmas**2)
        s = DDIMScheduler(
            num_train_timesteps=n, prediction_type="sample", clip_sample=False, timestep_spacing="leading"
        )
        s.alphas_cumprod = a.flip(0) ** 2
        s.set_timesteps(n)
        x = x * float(a[0])
        for i in range(n - 1):
            x = s.step(denoise(x / float(a[i]), sigmas[i]), n - 1 - i, x).prev_sample
        return x / float(a[-1])

    def of(kind: type, order: int, keep: bool = False, **settings: object) -> Sampler:
        """With `keep` the last steps have full order too: no level here is 0, where alone that would fail."""

        def run(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
            s = kind(prediction_type="sample", solver_order=order, lower_order_final=not keep, **settings)
            s.set_timesteps(len(sigmas) - 1)
            s.sigmas = sigmas
            a = torch.rsqrt(1 + sigmas**2).tolist()
            x = x * a[0]
            for i, t in enumerate(s.timesteps):
                x = s.step(denoise(x / a[i], sigmas[i]), t, x).prev_sample
            return x / a[-1]

        return run

    low = {"final_sigmas_type": "sigma_min"}
    multistep, unipc, deis = DPMSolverMultistepScheduler, UniPCMultistepScheduler, DEISMultistepScheduler
    yield Peer("diffusers", "DDIM U", ddim)
    yield Peer("diffusers", "DPM++ 2M K", of(multistep, 2, **low))
    yield Peer("diffusers", "DPM++ 3M L", of(multistep, 3, **low))
    yield Peer("diffusers", "UniPC3 U", of(unipc, 3, **low))
    yield Peer("diffusers", "UniPC3 L", of(unipc, 3, **low))
    yield Peer("diffusers", "DEIS3 K", of(deis, 3))
    yield Peer("diffusers", "DPM++ 2M full K", of(multistep, 2, True, **low))
    yield Peer("diffusers", "DPM++ 3M full L", of(multistep, 3, True, **low))
    yield Peer("diffusers", "UniPC2 full L", of(unipc, 2, True, **low))
    yield Peer("diffusers", "UniPC3 full L", of(unipc, 3, True, **low))
    yield Peer("diffusers", "UniPC3 K", of(unipc, 3, **low))
    yield Peer("diffusers", "DEIS3 full K", of(deis, 3, True))
    yield Peer("diffusers", "DEIS3 full L", of(deis, 3, True))


def deepinv() -> Iterator[Peer]:
    from deepinv.sampling import DDIMSolver, EDMDiffusionSDE, EulerSolver, HeunSolver, VarianceExplodingDiffusion

    def of(solver: type, geometric: bool) -> Sampler:
        """On its EDM-like SDE with sigma(t) = t, or on its variance-exploding one, whose sigma is geometric in t."""

        def run(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
            low, high = float(sigmas[-1]), float(sigmas[0])
            common = {"denoiser": denoise, "alpha": 0.0, "minus_one_one": False}
            if geometric:
                times = (sigmas / low).log() / math.log(high / low)
                sde = VarianceExplodingDiffusion(
                    sigma_min=low, sigma_max=high, solver=solver(timesteps=times), **common
                )
            else:
                sde = EDMDiffusionSDE(
                    sigma_t=lambda t: t, sigma_prime_t=torch.ones_like, variance_exploding=True,
                    solver=solver(timesteps=sigmas), **common,
                )  # fmt: skip
            return sde.sample(x.to(WIDE)).to(x.dtype)

        return run

    yield Peer("deepinv", "DDIM L", of(DDIMSolver, True))
    yield Peer("deepinv", "DDIM K", of(DDIMSolver, False))
    yield Peer("deepinv", "Euler L", of(EulerSolver, True))
    yield Peer("deepinv", "Heun L", of(HeunSolver, True), 2)
    yield Peer("deepinv", "Heun K", of(HeunSolver, False), 2)


LIBRARIES = {"azula": azula, "k-diffusion": k_diffusion, "diffusers": diffusers, "deepinv": deepinv}


def installed(library: str) -> bool:
    return importlib.util.find_spec(library.replace("-", "_")) is not None

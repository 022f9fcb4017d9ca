"""Posterior samples of MRI slices: the prior over complex images, conditioned on multi-coil k-space."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Karras
from ornstein.core.inverse.coupled import CoupledPosterior
from ornstein.core.noise import KeyedNoise
from ornstein.core.operators import LinearOperator
from ornstein.core.paths import EDM
from ornstein.core.precision import autocast
from ornstein.core.solvers import Exponential, sample

FIRST_SHIFT = 0.01  # Tikhonov weight of the SENSE image that the chain starts from; the maps have unit norm


@dataclass(frozen=True, eq=False)
class Channels(LinearOperator):
    """Real and imaginary parts as complex images: (slices * samples, sets, 2, *space) to (slices, samples, sets, *space).

    Args:
        slices: number of slices in the batch, whose samples follow each other.
    """

    unitary: ClassVar[bool] = True
    slices: int

    def forward(self, x: Tensor) -> Tensor:
        x = torch.view_as_complex(x.movedim(2, -1).contiguous())
        return x.unflatten(0, (self.slices, -1))

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.view_as_real(y.flatten(0, 1)).movedim(-1, 2)


class EachSet(Denoiser):
    """The prior of one complex image, asked for each of the sets of maps: (batch, sets, 2, *space).

    It notes the seconds that the network takes, and runs it in the given precision.
    """

    def __init__(self, prior: Denoiser, path: EDM, precision: str = "bf16", at_once: int | None = None) -> None:
        super().__init__(path)
        self.prior = prior.on(path)
        self.at_once = at_once  # images, however many are asked for
        self.precision = precision
        self.seconds = 0.0
        self.evaluations = 0

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        start = time.perf_counter()
        with autocast(x_t.device, self.precision):
            images = x_t.flatten(0, 1)
            x0 = torch.cat([self.prior(some, t) for some in images.split(self.at_once or len(images))])
        x0 = x0.to(x_t.dtype).reshape(x_t.shape)
        if x_t.device.type == "cuda":
            torch.cuda.synchronize(x_t.device)
        self.seconds += time.perf_counter() - start
        self.evaluations += x_t.shape[0] * x_t.shape[1]
        return x0


@dataclass(frozen=True)
class DiffusionSettings:
    """How posterior samples are drawn; the defaults need no tuning.

    Args:
        steps: noise levels, each one evaluation of the network a sample, at least 1.
        samples: posterior samples a slice, at least 1.
        seed: of the noise.
        sigma_start, sigma_end: first and last noise level of the chain, in units of the image's scale.
        sigma_last: the level at which the prior sees the sample once more without the data, below `sigma_end`: it
            clears the receiver's noise from the air, which agreeing with the data brings in.
        rho: how the levels lie between them, see `Karras`.
        inflation: factor on the prior's error where it meets the data, at least 1: that error is gathered where tissue
            is, and more there than its mean.
        spread: factor on the samples' deviations from their mean, above 0: chains of fresh noise come out too much alike
            (benchmarks/mri_coverage.py).
        misfit: of the prior on the scan, at least 1, another such factor; see the function of that name.
        iterations: of conjugate gradients at each level, where the operator has no direct solution.
        difference: between neighbouring slices, the mean of its absolute value in units of the image's scale, by which they
            are coupled; infinite where each is by itself.
        precision: of the network, "fp32", "bf16" or "fp16".
    """

    steps: int = 40
    samples: int = 4
    seed: int = 0
    sigma_start: float = 0.3
    sigma_end: float = 0.01
    sigma_last: float = 0.005
    rho: float = 10.0
    inflation: float = 1.6
    spread: float = 2.0
    misfit: float = 1.9
    iterations: int = 8
    difference: float = math.inf
    precision: str = "bf16"


@dataclass(frozen=True, eq=False)
class PosteriorSamples:
    """What `posterior_samples` gives.

    Args:
        images: complex (slices, samples, sets, *space).
        network_seconds: time inside the network.
        evaluations: images that went through the network.
    """

    images: Tensor
    network_seconds: float
    evaluations: int


@torch.no_grad()
def posterior_samples(
    operator: LinearOperator,
    measurement: Tensor,
    prior: Denoiser,
    error: Callable[[float], float],
    noise: float,
    settings: DiffusionSettings,
    items: Sequence[int],
    callback: Callable[[], None] | None = None,
) -> PosteriorSamples:
    """Samples of the images of some slices, given their k-space.

    A chain of noise levels: at each the prior's x0_hat is brought to agree with the data and noised afresh to the
    next level, x_r = x0_hat(y) + s_r z; the sample is the last x0_hat(y), denoised once at a lower level. Slices that follow
    each other may be coupled along z, see `CoupledPosterior`.

    Args:
        operator: from (slices, samples, sets, *space) to data, `MultiCoil` say.
        measurement: data of unit image scale, broadcastable over the samples: (slices, 1, coils, ...).
        prior: of one complex image as two channels, of unit scale.
        error: the prior's root-mean-square error at a noise level, see `error_curve`.
        noise: standard deviation of real and imaginary part of the data, in the same units.
        settings: see there.
        items: the slices' numbers, which key the noise.
        callback: called after each level.

    Source: Chung, Lee, Ye (2024), Decomposed diffusion sampler, arXiv:2303.05754, algorithm 1 with eta = 1.
    """
    s = settings
    count = len(items)
    back_projection = operator.adjoint(measurement)
    first = operator.solve(back_projection, FIRST_SHIFT, s.iterations)
    channels = Channels(count)
    start = channels.adjoint(first.expand(count, s.samples, *first.shape[2:]).contiguous())
    path = EDM(s.sigma_last, s.sigma_start)
    end = path.time_of(-math.log(s.sigma_end))
    coupled = count > 1 and s.difference < math.inf
    assert not coupled or list(items) == list(range(items[0], items[0] + count)), f"slices {items} are no stack"
    # A stack is denoised slice by slice on a CPU, as it would be without coupling.
    cpu = coupled and measurement.device.type == "cpu"
    each = EachSet(prior, path, s.precision, s.samples * start.shape[1] if cpu else None)
    posterior = CoupledPosterior(
        each,
        operator @ channels,
        measurement.expand(-1, s.samples, *measurement.shape[2:]),
        noise,
        lambda sigma: s.inflation * s.misfit * error(sigma),
        s.iterations,
        slices=count if coupled else 1,
        # The pull to the neighbours is that of the prior's error as it is: `inflation` concerns the data alone.
        difference=s.difference * s.inflation**2,
        joint=(2,),
    )
    keyed = KeyedNoise(s.seed, [item * 65536 + k for item in items for k in range(s.samples)])
    x = start + s.sigma_start * keyed(0, start.shape, start.dtype, start.device)
    if s.steps > 2:
        each_step = None if callback is None else lambda state: callback()
        x = sample(
            posterior,
            solver=Exponential(order=1, renoise=True),
            steps=s.steps - 2,
            grid=Karras(end=float(end), rho=s.rho),
            x_start=x,
            noise=keyed,
            callback=each_step,
        )
    x = posterior(x, end)
    if s.steps > 1:
        x = each(x, torch.zeros((), dtype=torch.float64))
    images = channels.forward(x)
    mean = images.mean(1, keepdim=True)
    return PosteriorSamples(mean + s.spread * (images - mean), each.seconds, each.evaluations)


@torch.no_grad()
def misfit(
    operator: LinearOperator,
    measurement: Tensor,
    prior: Denoiser,
    error: Callable[[float], float],
    noise: float,
    sigma: float = DiffusionSettings.sigma_start,
) -> float:
    """The prior's error on some data over its error curve, at least 1, at most 10.

    From its estimate x0_hat of the SENSE image with noise added: |y - A x0_hat|^2 is the noise's energy and, in the
    directions that the data see, the error's. The state of a chain is not the image plus white noise: what the data
    leave open also errs, which is why this is above 1 on the prior's own kind as well (1.6 to 2 on heads never trained on).

    Args:
        operator: from (slices, sets, *space) to data.
        measurement: data of unit image scale, zero where nothing was sampled.
        prior, error, noise: as for `posterior_samples`.
        sigma: the noise level.
    """
    image = operator.solve(operator.adjoint(measurement), FIRST_SHIFT, DiffusionSettings.iterations)
    channels, keyed = Channels(len(image)), KeyedNoise(0, [0])
    each = EachSet(prior, EDM(sigma / 10, sigma), "fp32")
    x = channels.adjoint(image[:, None])
    x0 = each(x + sigma * keyed(0, (1, *x.shape))[0].to(x), torch.ones((), dtype=torch.float64))
    seen = measurement != 0
    left = (measurement - operator.forward(channels.forward(x0)[:, 0])).abs().square()[seen].mean()
    unit = channels.forward(keyed(1, (1, *x.shape))[0].to(x))[:, 0]  # its real and imaginary part of variance 1
    kept = operator.forward(unit).abs().square()[seen].mean()
    excess = float(left) - 2 * noise**2
    return min(max((max(excess, 0.0) / float(kept)) ** 0.5 / error(sigma), 1.0), 10.0)

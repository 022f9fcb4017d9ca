"""Guidance: denoisers that pull another denoiser's answer, and so go with every solver."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ornstein.core.denoisers import Denoiser, Traits
from ornstein.core.paths import expand, time


class Conditioned(Denoiser):
    """A denoiser with some of its conditions set, or taken away, whatever the call says: the null condition, say.

    Args:
        denoiser: E[x0 | x_t, conditions].
        drop: names of conditions that it is not to see.
        conditions: by name, (1, ...) for all items or (batch, ...).
    """

    def __init__(self, denoiser: Denoiser, drop: Sequence[str] = (), **conditions: Tensor) -> None:
        super().__init__(denoiser.path)
        self.denoiser, self.drop, self.conditions = denoiser, tuple(drop), conditions

    @property
    def traits(self) -> Traits:
        return self.denoiser.traits

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        kept = {name: value for name, value in conditions.items() if name not in self.drop}
        fixed = {name: value.expand(len(x_t), *value.shape[1:]) for name, value in self.conditions.items()}
        return self.denoiser(x_t, t, y, **{**kept, **fixed})


class Guided(Denoiser):
    """Away from a reference,

        x0_hat = D_0 + w (D - D_0),     D_0 the reference's answer,

    which is the same line in noise, score or velocity. With w = 1 it is D; the score is that of p^w p_0^(1-w) at each noise
    level, which is not the noised p^w p_0^(1-w): samples are of no simple density (`superposition.product` makes them so).

    | method | reference |
    |---|---|
    | classifier-free guidance | the same model without the condition: `Conditioned(denoiser, label=null)` |
    | autoguidance | a smaller or less trained model, with the same conditions |
    | in an interval | either, with `interval` = (lowest, highest) sigma: (0.28, 5.42) for EDM2-XXL on ImageNet |
    | rescaled | either, with `rescale` near 0.7 |

    Rescaling gives the answer part of the way back the deviation that D has over an item, which strong guidance inflates,

        x0_hat <- x0_hat (f std(D) / std(x0_hat) + 1 - f),    f = rescale.

    Args:
        denoiser: D.
        reference: D_0, asked on D's path; it sees the conditions of the call too.
        scale: w; Ho and Salimans count from 0, theirs is w - 1.
        interval: noise levels sigma = s / a, above the first and up to the second, in which there is guidance; outside D
            is alone, and the reference is not asked.
        rescale: f, from 0 to 1.

    Raises:
        ValueError: for an interval that is empty, or f out of range.

    Source: Ho and Salimans (2022), Classifier-free diffusion guidance, arXiv:2207.12598; Karras et al. (2024), Guiding a
    diffusion model with a bad version of itself, arXiv:2406.02507; Kynkaanniemi et al. (2024), Applying guidance in a limited
    interval, arXiv:2404.07724; Lin et al. (2023), Common diffusion noise schedules and sample steps are flawed,
    arXiv:2305.08891, section 3.4.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        reference: Denoiser,
        scale: float,
        interval: tuple[float, float] = (0.0, math.inf),
        rescale: float = 0.0,
    ) -> None:
        super().__init__(denoiser.path)
        if not 0 <= interval[0] < interval[1] or not 0 <= rescale <= 1:
            raise ValueError(
                f"interval {interval} has to rise from at least 0, and rescale {rescale} to be from 0 to 1"
            )
        self.denoiser, self.reference = denoiser, reference.on(denoiser.path)
        self.weight, self.interval, self.rescale = scale, interval, rescale

    @property
    def traits(self) -> Traits:
        return self.denoiser.traits

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        x0 = self.denoiser(x_t, t, y, **conditions)
        log_sigma = -self.path.log_snr(time(t))
        low, high = (math.log(level) if level > 0 else -math.inf for level in self.interval)
        inside = (log_sigma > low) & (log_sigma <= high)
        if not bool(inside.any()):
            return x0
        reference = self.reference(x_t, t, y, **conditions)
        guided = reference + self.weight * (x0 - reference)
        if self.rescale:
            before, after = (v.flatten(1).std(1, correction=0) for v in (x0, guided))
            ratio = torch.where(after > 0, before / after, 1.0)
            guided = guided * expand(self.rescale * ratio + 1 - self.rescale, guided)
        return torch.where(expand(inside.double(), x0) > 0, guided, x0)


class LossGuided(Denoiser):
    """Towards a small loss of the data, for a loss that can be differentiated,

        x0_hat = D - w (s^2 / a) grad_(x_t) loss(D(x_t)),

    the posterior mean under a likelihood exp(-w loss), were x0_hat all of p(x0 | x_t): samples are of p exp(-w loss) where
    the loss is linear and the prior Gaussian, and a heuristic's elsewhere; `rewards.tilted` is exact. Without the network's
    derivative the gradient is taken at D alone,

        x0_hat = D - w sigma_d^2 sigma^2 / (sigma^2 + sigma_d^2) grad loss(D),      sigma = s / a,

    as if the data were round, of deviation sigma_d = scale / 2, which costs no more than the loss.

    Args:
        denoiser: D, on a Gaussian path, of real x_t.
        loss: x0 (batch, ...) -> (batch,), of each item by itself, in nats at w = 1.
        weight: w, at least 0.
        through: whether the gradient goes through the network.

    Raises:
        ValueError: on a path whose noise is not Gaussian.

    Source: Dhariwal and Nichol (2021), Diffusion models beat GANs on image synthesis, arXiv:2105.05233 (classifier guidance);
    Bansal et al. (2023), Universal guidance for diffusion models, arXiv:2302.07121; Song et al. (2023), Loss-guided diffusion
    models for plug-and-play controllable generation (ICML); He et al. (2023), Manifold preserving guided diffusion,
    arXiv:2311.16424 (without the network's derivative).
    """

    def __init__(
        self, denoiser: Denoiser, loss: Callable[[Tensor], Tensor], weight: float = 1.0, through: bool = True
    ) -> None:
        super().__init__(denoiser.path)
        if not denoiser.path.gaussian:
            raise ValueError(f"{denoiser.path} has no score: its noise is not Gaussian")
        self.denoiser, self.loss, self.weight, self.through = denoiser, loss, weight, through

    @property
    def traits(self) -> Traits:
        return self.denoiser.traits

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        assert not x_t.is_complex(), "guidance by a loss is of real x_t: give complex data as two channels"
        c = self.path.coefficients(time(t))
        with torch.enable_grad():
            if self.through:
                source = x_t.detach().requires_grad_()
                x0 = answer = self.denoiser(source, t, y, **conditions)
                gain = c.s**2 / c.a
            else:
                answer = self.denoiser(x_t, t, y, **conditions).detach()
                x0 = source = answer.clone().requires_grad_()
                variance = (self.scale / 2) ** 2
                gain = c.s**2 * variance / (c.a**2 * variance + c.s**2).clamp(min=1e-300)
            loss = self.loss(x0)
            assert loss.shape == (len(x_t),), f"a loss of shape {tuple(loss.shape)} for {len(x_t)} items"
            (gradient,) = torch.autograd.grad(loss.sum(), source)
        if self.through and not bool((c.a > 0).all()):  # pure noise says nothing of the data, nor they of it
            gain, gradient = torch.where(c.a > 0, gain, 0.0), torch.nan_to_num(gradient)
        return answer.detach() - self.weight * expand(gain, gradient) * gradient

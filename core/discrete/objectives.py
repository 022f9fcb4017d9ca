"""What discrete models are trained on, and the bounds of their likelihood."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ornstein.core.discrete.denoisers import States, paths_of
from ornstein.core.discrete.paths import CategoricalPath


def noised(
    paths: Mapping[str, CategoricalPath], x0: States, masks: States, t: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """x_t of data x0 by name, (batch, positions), at times (batch,); what the masks leave out is 0."""
    made = {}
    for name, path in paths.items():
        uniform = torch.rand(x0[name].shape, generator=generator, dtype=torch.float64).to(x0[name].device)
        made[name] = path.mix(x0[name], t, uniform) * masks[name]
    return made


def cross_entropy_loss(
    model: nn.Module,
    x0: States,
    masks: States,
    t: Tensor,
    generator: torch.Generator,
    weights: Mapping[str, float] | None = None,
    paths: Mapping[str, CategoricalPath] | None = None,
    **conditions: Tensor,
) -> Tensor:
    """The mean over positions of -log p(x0 | x_t), weighed as the path says, and summed over the tensors of the state.

    Args:
        model: a `CategoricalDenoiser`, also as `torchrun` wraps it.
        x0, masks: data and which positions exist, by name, (batch, positions).
        t: times (batch,), float64 in (0, 1].
        generator: of the noise.
        weights: of the tensors, by name; 1 where it says nothing.
        paths: of this batch, where they are not the denoiser's own.

    Returns:
        (batch,), float32.

    Source: Vignac et al. (2022), DiGress, arXiv:2209.14734, eq. 2 (its lambda is the weight of the edges, 5); on masked paths Sahoo et
    al. (2024), arXiv:2406.07524, eq. 10.
    """
    paths = paths_of(model) if paths is None else paths
    x_t = noised(paths, x0, masks, t, generator)
    logits = model(x_t, t, masks, **conditions)
    total = torch.zeros(len(t), device=t.device)
    for name, path in paths.items():
        entropy = nn.functional.cross_entropy(logits[name].float().transpose(1, 2), x0[name], reduction="none")
        counted = path.loss_weight(x_t[name], t).float() * masks[name]
        loss = (entropy * counted).sum(1) / masks[name].sum(1).clamp_min(1)
        total = total + loss * (1.0 if weights is None else weights.get(name, 1.0))
    return total


def bound_rate(path: CategoricalPath, x0: Tensor, x_t: Tensor, t: Tensor | float, log_p0: Tensor) -> Tensor:
    """The integrand of -log p(x0) <= integral over t in (0, 1) of E[sum over positions of this], in nats, (batch, positions).

    It is the divergence of the reverse jumps given x0, of rates R0, from those of the model, of rates R,

        sum over k of R(k) - R0(k) + R0(k) log(R0(k) / R(k)).

    On a masked path that is -alpha' / (1 - alpha) (-log p0(x0)) where the mask is. As alpha(1) = 0 nothing else is to add.

    Args:
        path: the path of these positions.
        x0, x_t: (batch, positions).
        t: (batch,) or (), in (0, 1).
        log_p0: the model's log law of x0, (batch, positions, classes), float64.

    Source: Campbell et al. (2022), arXiv:2205.14987, prop. 2 (with its constant); on masked paths Sahoo et al. (2024),
    arXiv:2406.07524, eq. 10; on uniform ones Schiff et al. (2024), arXiv:2412.10193.
    """
    if path.stationary[-1] == 1.0:  # the general form takes logarithms of rates that may underflow
        entropy = -log_p0.gather(-1, x0[..., None])[..., 0]
        return entropy * path.loss_weight(x_t, torch.as_tensor(t, dtype=torch.float64).expand(len(x_t)))
    rates = path.reverse_rates(x_t, log_p0.exp(), t)
    true = path.reverse_rates(x_t, nn.functional.one_hot(x0, path.classes).double(), t)
    divergence = torch.xlogy(true, true) - torch.xlogy(true, rates)
    return (rates - true + divergence).sum(-1)


@torch.no_grad()
def likelihood_bound(
    model: nn.Module,
    x0: States,
    masks: States,
    generator: torch.Generator,
    draws: int = 64,
    **conditions: Tensor,
) -> Tensor:
    """An unbiased estimate of the bound of -log p(x0) in nats, (batch,), from `draws` stratified times an item."""
    paths = paths_of(model)
    batch = len(next(iter(x0.values())))
    total = torch.zeros(batch, dtype=torch.float64)
    for k in range(draws):
        t = (k + torch.rand(batch, generator=generator, dtype=torch.float64)) / draws
        x_t = noised(paths, x0, masks, t, generator)
        logits = model(x_t, t, masks, **conditions)
        for name, path in paths.items():
            rate = bound_rate(path, x0[name], x_t[name], t, logits[name].double().log_softmax(-1))
            total += (rate * masks[name]).sum(1) / draws
    return total

"""Training of the judge of `typicality`: a prior's own slices against strangers, all varied as scans vary."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ornstein.domains.mri.strangers import SIZE, stranger, windowed
from ornstein.domains.mri.typicality import WIDTH, Judge, coarse, normalised

GENTLE = 0.5
"""How strongly strangers are degraded, where heads are by 1: a picture that nothing can be told from may be a head."""


def train_judge(
    groups: Sequence[Sequence[np.ndarray]],
    others: Sequence[Sequence[np.ndarray]] = (),
    *,
    steps: int = 6000,
    batch: int = 64,
    pool: int = 6000,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> Judge:
    """Trains a judge of slices against random pictures and, where there are any, pictures of others.

    Args:
        groups: lists of magnitude slices, one a source, drawn from evenly.
        others: lists of slices of what is not wanted, magnitudes or signed values, one a source.
        steps, batch: of AdamW; half of each batch is wanted.
        pool: at most so many random pictures, and as many of the others, are drawn once.
        seed: of everything.
        log: told of the loss.
    """
    draw, pool = np.random.default_rng(seed), min(pool, steps * batch)
    generator = torch.Generator().manual_seed(seed)

    def stack(pictures: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack([coarse(picture, SIZE) for picture in pictures]))

    def pick(pictures: Tensor, count: int) -> Tensor:
        return pictures[torch.randint(len(pictures), (count,), generator=generator)]

    wanted = [stack(group) for group in groups]
    strangers = foreign = stack([stranger(draw) for _ in range(pool)])
    if others:
        sources = [others[i] for i in draw.integers(0, len(others), pool)]
        foreign = stack([windowed(source[draw.integers(0, len(source))], draw) for source in sources])
    torch.manual_seed(seed)
    model = Judge()
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, max(steps, 2))
    half, third = batch // 2, batch // 6
    harm = torch.cat([torch.ones(half), torch.full((half,), GENTLE)])
    # Smoothed labels: the odds stay finite, and doubt stays visible.
    label = torch.cat([torch.full((half,), 0.99), torch.full((half,), 0.01)])
    total = 0.0
    for step in range(1, steps + 1):
        yes = [pick(wanted[int(i)], 1) for i in draw.integers(0, len(wanted), half)]
        pictures = torch.cat([*yes, pick(strangers, half - third), pick(foreign, third)])[:, None]
        loss = F.binary_cross_entropy_with_logits(model(vary(pictures, harm, generator)), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        if step % 250 == 0:
            log(f"judge: step {step} of {steps}  loss {total / 250:.3f}")
            total = 0.0
    return model.eval()


def vary(pictures: Tensor, harm: Tensor, generator: torch.Generator) -> Tensor:
    """Other placements, weightings, shading, undersampling and noise of pictures.

    Args:
        pictures: (batch, 1, n, n), at most about 1.
        harm: (batch,) in [0, 1], how strongly noise and undersampling degrade each.
        generator: of all that is random.

    Returns:
        (batch, 1, 64, 64).
    """
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    def fields(knots: int) -> Tensor:
        knotted = torch.randn(count, 1, knots, knots, generator=generator)
        return F.interpolate(knotted, (WIDTH, WIDTH), mode="bicubic", align_corners=True)

    # Placement: turned, mirrored, stretched, shifted and bent; parts may leave the picture.
    turn = uniform(-0.5, 0.5) + torch.pi / 2 * torch.randint(4, (count,), generator=generator)
    mirror = uniform(-0.3, 0.3).exp() * (torch.randint(2, (count,), generator=generator) * 2 - 1)
    zoom, shift = uniform(0.65, 1.5), uniform(-0.15, 0.15, 2)
    c, s = turn.cos() * zoom, turn.sin() * zoom
    theta = torch.stack([c * mirror, -s, shift[:, 0], s * mirror, c, shift[:, 1]], 1).reshape(count, 2, 3)
    places = F.affine_grid(theta, [count, 1, WIDTH, WIDTH], align_corners=False)
    bent = places + uniform(0, 0.1, 1, 1, 1) * torch.stack([fields(4), fields(4)], -1)[:, 0]
    x = F.grid_sample(pictures, bent, align_corners=False)
    # Weighting: a gamma for half of them, for some any continuous curve from dark air on; then the shading of coils,
    # which are near the rim.
    kind = uniform(0, 1, 1, 1, 1)
    x = torch.where(kind < 0.55, x.clamp_min(1e-6) ** uniform(0.35, 1.7, 1, 1, 1), x)
    x = torch.where(kind > 0.8, curved(x, generator), x)
    rim = torch.linspace(-1, 1, WIDTH).square()
    x = x * torch.exp(uniform(0, 0.6, 1, 1, 1) * fields(3) + uniform(-0.5, 1.5, 1, 1, 1) * (rim[:, None] + rim))
    # Undersampling: what the centre and some other lines leave of an image with a phase, in one coil (1) or many (0).
    harm = harm[:, None, None, None]
    spectrum = torch.fft.fft(torch.polar(x, 0.8 * fields(4)))
    lines = uniform(0, 1, 1, 1, WIDTH) < uniform(0.05, 0.6, 1, 1, 1)
    lines |= torch.fft.fftfreq(WIDTH).abs() * WIDTH < uniform(1, 6, 1, 1, 1)
    aliased = torch.fft.ifft(spectrum * lines).abs()
    x = x + harm * uniform(-0.8, 1, 1, 1, 1).clamp_min(0) * (aliased - x)
    noise = torch.randn(2, *x.shape, generator=generator) * harm * uniform(-0.05, 0.1, 1, 1, 1).clamp_min(0)
    return normalised(((x + noise[0]) ** 2 + noise[1] ** 2).sqrt())


def curved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (batch, 1, n, n) in [0, 1.2] through a random continuous curve each, from 0 to 0."""
    count, pieces = len(x), 5
    knots = torch.cat([torch.zeros(count, 1), torch.rand(count, pieces, generator=generator)], 1)
    place = (x.flatten(1).clamp(0, 1.2) / 1.2 * pieces).clamp(max=pieces - 0.001)
    low = place.floor().long()
    return torch.lerp(knots.gather(1, low), knots.gather(1, low + 1), place - low).reshape(x.shape)

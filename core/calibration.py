"""Whether samples are as uncertain as they are wrong: coverage of intervals, ranks of the truth, spread against error.

Samples are (problems, samples, ...), the truth (problems, ...): each value of each problem is a case. Cases of one problem
are not independent, so that standard errors go by problems.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Coverage(NamedTuple):
    """How often intervals hold the truth.

    Args:
        level: what is claimed, between 0 and 1.
        share: of the cases whose truth is inside, from 0 to 1.
        width: the intervals' mean width, in the data's units.
        rmse: root-mean-square error of the samples' mean, in the data's units.
    """

    level: float
    share: float
    width: float
    rmse: float


def central_interval(samples: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
    """The ends of the central interval that a further sample falls into with probability `level`, (problems, ...) each.

    Between the order statistics number p (n + 1), p = (1 - level) / 2 and 1 - p, interpolated: for exchangeable samples that
    is exact at whole numbers, and nearly so between; quantiles of the samples themselves would be too narrow for few.

    Args:
        samples: (problems, n, ...), real.
        level: above 0, below 1.

    Raises:
        ValueError: for fewer samples than 2 / (1 - level) - 1, between which no interval of theirs has this level.

    Source: Hyndman and Fan (1996), Sample quantiles in statistical packages, The American Statistician 50, type 6.
    """
    n, tail = samples.shape[1], (1 - level) / 2
    if not 0 < level < 1 or tail * (n + 1) < 1 - 1e-9:
        raise ValueError(f"level {level} needs at least {math.ceil(1 / max(tail, 1e-9) - 1 - 1e-9)} samples, not {n}")
    ordered = samples.sort(dim=1).values
    position = max(tail * (n + 1) - 1, 0.0)
    low, part = int(position), position - int(position)
    after = min(low + 1, n - 1)
    lower = torch.lerp(ordered[:, low], ordered[:, after], part)
    upper = torch.lerp(ordered[:, n - 1 - low], ordered[:, n - 1 - after], part)
    return lower, upper


def coverage(samples: Tensor, truth: Tensor, level: float = 0.9, mask: Tensor | None = None) -> Coverage:
    """How often the central intervals of the samples hold the truth, and how wide they are.

    Args:
        samples: (problems, n, ...), real.
        truth: (problems, ...).
        level: above 0, below 1.
        mask: which cases count, of a shape that broadcasts to the truth; all by default.

    Raises:
        ValueError: for too few samples for the level.
    """
    _agree(samples, truth)
    lower, upper = central_interval(samples, level)
    kept = torch.ones_like(truth, dtype=torch.bool) if mask is None else mask.bool().expand_as(truth)
    inside = ((truth >= lower) & (truth <= upper))[kept]
    error = (samples.mean(1) - truth)[kept].double()
    width = (upper - lower)[kept].double()
    return Coverage(level, float(inside.double().mean()), float(width.mean()), float(error.square().mean().sqrt()))


def ranks(samples: Tensor, truth: Tensor) -> Tensor:
    """How many samples are below the truth, (problems, ...), int64 from 0 to n: uniform where samples are calibrated.

    Half of those that equal it count as below, rounded down.

    Source: Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based calibration,
    arXiv:1804.06788; Hamill (2001), Interpretation of rank histograms for verifying ensemble forecasts, MWR 129.
    """
    _agree(samples, truth)
    here = truth[:, None]
    return (samples < here).sum(1) + (samples == here).sum(1) // 2


class RankHistogram(NamedTuple):
    """Counts of ranks, and whether they are uniform.

    Args:
        counts: (bins,), int64.
        chi_square: of the counts against even ones, with bins - 1 degrees of freedom.
        p_value: how often even ranks of independent cases are as uneven, from 0 to 1.
    """

    counts: Tensor
    chi_square: float
    p_value: float


def rank_histogram(samples: Tensor, truth: Tensor, bins: int | None = None) -> RankHistogram:
    """The histogram of the truth's ranks: a U says that samples spread too little, a hill too much.

    Args:
        samples: (problems, n, ...).
        truth: (problems, ...).
        bins: a divisor of n + 1, by default n + 1 itself: every bin then has as many ranks.

    Raises:
        ValueError: for bins that do not divide n + 1.
    """
    n = samples.shape[1]
    bins = n + 1 if bins is None else bins
    if bins < 2 or (n + 1) % bins:
        raise ValueError(f"bins {bins} of ranks 0 to {n}: {n + 1} ranks are shared out to at least 2 bins, evenly")
    index = ranks(samples, truth).flatten() // ((n + 1) // bins)
    counts = torch.bincount(index, minlength=bins)
    expected = index.numel() / bins
    chi_square = float(((counts - expected).double().square() / expected).sum())
    half = torch.tensor([(bins - 1) / 2, chi_square / 2], dtype=torch.float64)
    return RankHistogram(counts, chi_square, float(torch.special.gammaincc(half[0], half[1])))


class ErrorSpread(NamedTuple):
    """Error against spread, in bins of rising spread.

    Args:
        spread: of the samples in each bin, root mean square, times sqrt(1 + 1/n) for the error of a mean of n: (bins,).
        error: of the samples' mean in each bin, root mean square, (bins,).
        ratio: spread over error of all cases together; 1 where samples are calibrated.
    """

    spread: Tensor
    error: Tensor
    ratio: float


def error_spread(samples: Tensor, truth: Tensor, bins: int = 10) -> ErrorSpread:
    """Root-mean-square error of the samples' mean against their spread: the same in every bin where samples are calibrated.

    Args:
        samples: (problems, n, ...), n at least 2.
        truth: (problems, ...).
        bins: at least 1, at most the cases; of as many cases each, but for one.

    Source: Fortin et al. (2014), Why should ensemble spread match the RMSE of the ensemble mean?, J. Hydrometeorology 15;
    Leutbecher and Palmer (2008), Ensemble forecasting, J. Computational Physics 227.
    """
    _agree(samples, truth)
    n = samples.shape[1]
    if n < 2 or not 1 <= bins <= truth.numel():
        raise ValueError(f"{n} samples and {bins} bins: at least 2, and from 1 to the {truth.numel()} cases")
    variance = samples.double().var(dim=1).flatten() * (1 + 1 / n)
    square = (samples.double().mean(1) - truth).flatten().square()
    order = variance.argsort()
    parts = [torch.stack([v[chunk].mean().sqrt() for chunk in order.tensor_split(bins)]) for v in (variance, square)]
    return ErrorSpread(parts[0], parts[1], float((variance.mean() / square.mean()).sqrt()))


def _agree(samples: Tensor, truth: Tensor) -> None:
    wanted = (samples.shape[0], *samples.shape[2:])
    assert truth.shape == wanted, f"truth {tuple(truth.shape)} for samples {tuple(samples.shape)}"
    assert not samples.is_complex(), "intervals and ranks are of real values: give parts or magnitudes"

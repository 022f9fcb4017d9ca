"""How good an ensemble of fields is: error, CRPS, spread, ranks, spectra, seams, consistency.

Ensembles are (members, times, rows, columns), truths (times, rows, columns), weights (rows, columns) or like the truth
(0 where nothing is scored). All are numpy arrays in one unit.
"""

from collections.abc import Mapping

import numpy as np

from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.covariances import cosine_waves

BANDS = (0.0, 1 / 8, 1 / 4, 1 / 2, 2.0)
"""Borders of four bands of DCT wavenumber, as shares of the largest along one axis: octaves down from the smallest scale."""


def latitude_weights(grid: Grid) -> np.ndarray:
    """Each cell's area over the mean, (rows, columns)."""
    return np.broadcast_to(grid.areas, grid.shape).copy()


def rmse(estimate: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """sqrt of the weighted mean of squared errors, over all times together."""
    return float(np.sqrt(_average(np.square(estimate - truth), weights)))


def crps(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The fair continuous ranked probability score of each value, like the truth: E|X - y| - E|X - X'| / 2 without bias.

    Source: Ferro (2014), Fair scores for ensemble forecasts, Quarterly Journal of the Royal Meteorological Society 140.
    """
    if len(members) == 1:
        return np.abs(members[0] - truth)
    import scoringrules

    return np.asarray(scoringrules.crps_ensemble(truth, members, m_axis=0, estimator="fair"))


def mean_crps(members: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean of `crps`."""
    return _average(crps(members, truth), weights)


def spread_skill(members: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """sqrt((1 + 1/n) mean variance) over the error of the mean: 1 where truth and members are exchangeable.

    Source: Fortin et al. (2014), Why should ensemble spread match the RMSE of the ensemble mean?, Journal of
    Hydrometeorology 15, eq. 15.
    """
    n = len(members)
    if n < 2:
        return float("nan")
    spread = np.sqrt((1 + 1 / n) * _average(members.var(0, ddof=1), weights))
    return float(spread / max(rmse(members.mean(0), truth, weights), 1e-30))


def rank_histogram(members: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often the truth has each rank among the members, (members + 1,), ties shared out evenly."""
    scored = np.broadcast_to(weights > 0, truth.shape)
    below, equal = (members < truth).sum(0)[scored], (members == truth).sum(0)[scored]
    histogram = np.zeros(len(members) + 1)
    for b, e in zip(*np.unique(np.stack([below, equal]), axis=1)):
        count = ((below == b) & (equal == e)).sum()
        histogram[b : b + e + 1] += count / (e + 1)
    return histogram


def rank_chi_squared(histogram: np.ndarray, independent: float | None = None) -> float:
    """Chi-squared of a rank histogram against a flat one, over its degrees of freedom.

    Args:
        histogram: counts.
        independent: how many of the counted values are independent (blocks in space and time); all by default.
    """
    total = histogram.sum()
    n = total if independent is None else min(independent, total)
    share, flat = histogram / total, 1 / len(histogram)
    return float(n * (np.square(share - flat) / flat).sum() / (len(histogram) - 1))


def band_power(fields: np.ndarray) -> np.ndarray:
    """Mean power of the DCT in each of the four `BANDS`, the mean left out: (..., 4) from (..., rows, columns)."""
    power = np.square(_waves(fields))
    bands = _bands(fields.shape[-2:])
    return np.stack([power[..., bands == b].mean(-1) for b in range(len(BANDS) - 1)], -1)


def coherence(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The correlation of members and truth over the waves of each band, (4,): 1 where every wave is right."""
    a, b = _waves(members), _waves(truth)[None]
    bands = _bands(truth.shape[-2:])
    found = []
    for band in range(len(BANDS) - 1):
        u, v = a[..., bands == band], np.broadcast_to(b, a.shape)[..., bands == band]
        found.append(float((u * v).sum() / np.sqrt((u**2).sum() * (v**2).sum() + 1e-30)))
    return np.array(found)


def seam_gradient(fields: np.ndarray) -> float:
    """The mean step between the last and the first column over the mean step between neighbours inside: about 1 where a
    periodic field has no seam. (..., rows, columns)."""
    inside = np.abs(np.diff(fields, axis=-1)).mean()
    return float(np.abs(fields[..., 0] - fields[..., -1]).mean() / max(inside, 1e-30))


def lag_autocorrelation(fields: np.ndarray) -> float:
    """The correlation of anomalies (..., times, rows, columns) with those one step later."""
    a, b = fields[..., :-1, :, :], fields[..., 1:, :, :]
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum() + 1e-30))


def bootstrap_skill(
    scores: np.ndarray, reference: np.ndarray, block: int, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """1 - mean(scores) / mean(reference), with the 95 % interval of resampled blocks of times (days, say).

    Args:
        scores, reference: one score a time, (times,).
        block: times a block.

    Source: Kuensch (1989), The jackknife and the bootstrap for general stationary observations (blocks).
    """
    blocks = [np.arange(i, min(i + block, len(scores))) for i in range(0, len(scores), block)]
    sums = np.array([[scores[b].sum(), reference[b].sum()] for b in blocks])
    random = np.random.default_rng(seed)
    drawn = sums[random.integers(0, len(blocks), (draws, len(blocks)))].sum(1)
    low, high = np.quantile(1 - drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(1 - scores.mean() / reference.mean()), float(low), float(high)


def measure(members: np.ndarray, truth: np.ndarray, grid: Grid, mask: np.ndarray | None = None) -> dict[str, float]:
    """The measures of one variable by name.

    Args:
        members: (members, times, rows, columns); a deterministic estimate has one.
        truth: (times, rows, columns), NaN where it is missing.
        grid: of both.
        mask: what is scored, broadcasting to the truth; all by default.
    """
    scored = np.isfinite(truth) & np.isfinite(members).all(0)
    scored &= True if mask is None else np.broadcast_to(mask, truth.shape).astype(bool)
    weights = latitude_weights(grid) * scored
    filled, whole = np.where(scored, truth, 0.0), np.where(scored, members, 0.0)
    found: dict[str, float] = {
        "rmse": rmse(whole.mean(0), filled, weights),
        "bias": _average(whole.mean(0) - filled, weights),
        "crps": mean_crps(whole, filled, weights),
    }
    if len(members) > 1:
        found["spread_skill"] = spread_skill(whole, filled, weights)
        histogram = rank_histogram(whole, filled, weights)
        found["rank_outside"] = float((histogram[0] + histogram[-1]) / histogram.sum() * (len(histogram) / 2))
    if scored.all() and min(truth.shape[-2:]) >= 8:
        power = (band_power(members).mean((0, 1)) + 1e-30) / (band_power(truth).mean(0) + 1e-30)
        same = coherence(members, truth)
        for b in range(len(power)):
            found[f"power_band{b + 1}"], found[f"coherence_band{b + 1}"] = float(power[b]), float(same[b])
    if grid.periodic and scored.all():
        found["seam_gradient"] = seam_gradient(members)
    return found


def table_rows(measures: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[float | str]]]:
    """Measures of several methods as a head and rows."""
    names = list(dict.fromkeys(n for one in measures.values() for n in one))
    return ["method", *names], [[m, *(one.get(n, float("nan")) for n in names)] for m, one in measures.items()]


def _average(values: np.ndarray, weights: np.ndarray) -> float:
    weights = np.broadcast_to(weights, values.shape)
    return float((values * weights).sum() / max(weights.sum(), 1e-30))


def _waves(fields: np.ndarray) -> np.ndarray:
    rows, columns = fields.shape[-2:]
    return cosine_waves(rows).T @ fields @ cosine_waves(columns)


def _bands(shape: tuple[int, ...]) -> np.ndarray:
    """The band of each wave, -1 for the mean, (rows, columns)."""
    k = np.hypot(*np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"))
    bands = np.digitize(k, BANDS) - 1
    bands[0, 0] = -1
    return bands

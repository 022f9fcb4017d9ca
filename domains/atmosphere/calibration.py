"""What held-out times say of a prior: the strength of its network, the size of its covariance, its members' spread and memory."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere import measures
from ornstein.domains.atmosphere.archive import Series
from ornstein.domains.atmosphere.background import MOST_CELLS
from ornstein.domains.atmosphere.operator import Coarsening
from ornstein.domains.atmosphere.prior import Backgrounds, Calibration, Prior
from ornstein.domains.atmosphere.sampling import Settings, ensemble, posterior_mean, posterior_of

SPREADS = (0.5, 2.0)
"""The least and the largest factor of the members' spread."""
ALIKE = 2
"""Series of one variable (levels, say) that are sampled."""


def calibrate(
    prior: Prior,
    series: list[Series],
    times: int,
    patch: int,
    log: Callable[[str], None],
    device: str | torch.device = "cpu",
) -> tuple[Prior, dict[str, dict[str, float]]]:
    """The prior with strength, inflation, spread and memory from the held-out times of each place and variable.

    Returns:
        It, and its scores by name: CRPS of optimal interpolation and of the model, their spread-skill.
    """
    found: dict[str, list[tuple[Calibration, dict[str, float]]]] = {}
    everywhere: dict[str, list[Calibration]] = {}
    for one in _chosen(series):
        made, scores = _calibrate(prior, one, times, patch, device)
        log(f"{one.name}: {made} {scores}")
        found.setdefault(one.region or one.variable, []).append((made, scores))
        everywhere.setdefault(one.variable, []).append(made)
    own = {name: [c for c, _ in pairs] for name, pairs in found.items()}
    # Where a variable lies in no known region, what all its places said is the best guess.
    calibration = {name: _mean(several) for name, several in (own | everywhere).items()}
    table = {
        name: {k: round(float(np.mean([s[k] for _, s in pairs])), 4) for k in pairs[0][1]}
        for name, pairs in found.items()
    }
    return replace(prior, calibration=calibration), table


def _chosen(series: list[Series]) -> list[Series]:
    """Those that are sampled: of each region, and of each variable elsewhere, at most `ALIKE`, evenly among all."""
    groups: dict[str, list[Series]] = {}
    for one in series:
        if one.held_out and min(one.grid.shape) >= 16:
            groups.setdefault(one.region or one.variable, []).append(one)
    chosen = []
    for group in groups.values():
        count = min(ALIKE, len(group))
        chosen += [group[int((i + 0.5) * len(group) / count)] for i in range(count)]
    return chosen


def _mean(several: list[Calibration]) -> Calibration:
    """Of several places: the mean strength and memory, and the geometric means of the two factors."""
    inflation, spread = (np.exp(np.mean([np.log(getattr(c, f)) for c in several])) for f in ("inflation", "spread"))
    strength, memory = (np.mean([getattr(c, f) for c in several]) for f in ("strength", "memory"))
    return Calibration(float(strength), float(inflation), float(spread), float(memory))


def _calibrate(
    prior: Prior, one: Series, times: int, patch: int, device: str | torch.device
) -> tuple[Calibration, dict[str, float]]:
    rows, columns = (n // 8 * 8 for n in one.grid.shape)
    if one.grid.shape[0] * one.grid.shape[1] > MOST_CELLS or not one.region:
        rows, columns = min(rows, patch), min(columns, patch)
    top, left = (one.grid.shape[0] - rows) // 2, (one.grid.shape[1] - columns) // 2
    window = slice(top, top + rows), slice(left, left + columns)
    grid = one.grid.cut(*window)
    first = one.trained
    chosen = np.unique(np.linspace(first, len(one.values) - 1, min(times, one.held_out)).astype(int))
    chosen = np.array([t for t in chosen if np.isfinite(one.values[(t, *window)]).all()], int)
    if not len(chosen):
        return Calibration(strength=0.0), {
            "crps_gaussian": float("nan"),
            "crps": float("nan"),
            "spread_skill": float("nan"),
        }
    truth = one.values[(chosen, *window)].astype(np.float64)
    strengths = (0.0, 0.5, 1.0) if prior.network is not None else (0.0,)
    members: dict[float, list[np.ndarray]] = {s: [] for s in strengths}
    memory = 0.0
    weights = measures.latitude_weights(grid)
    network = None if prior.network is None else prior.network.to(device).eval()

    def draw(strength: float, inflation: float) -> list[np.ndarray]:
        nonlocal memory
        found = []
        for factor in (4, 8):
            coarse_grid = grid.coarsen(factor)
            operator = Coarsening.between(grid, coarse_grid)
            backgrounds = Backgrounds(prior, one.variable, grid, coarse_grid, operator)
            parts = []
            for t, fine in zip(chosen, truth):
                exact = operator.whole(torch.from_numpy(fine)[None, None])[0].numpy()
                background = backgrounds.at(exact, float(one.hours[t])).to(device)
                values = torch.from_numpy(exact)[operator.kept].to(device)
                noise = torch.full_like(values, 1e-3 * float(background.deviation.mean()))
                features = prior.features(one.variable, grid, float(one.hours[t]), float(one.days[t]))[None, None].to(
                    device
                )
                settings = Settings(12, 6, 0, float(one.stamps[t]), strength=strength, inflation=inflation)
                parts.append(
                    ensemble(background, operator, values, noise, settings, network, features)[:, 0].cpu().numpy()
                )
            found.append(np.stack(parts, 1))
        return found

    def honest(ensembles: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
        """The ensembles with the spread that fits their error, and its factor: the CRPS hardly tells spreads apart."""
        ratio = np.mean([np.log(measures.spread_skill(m, truth, weights)) for m in ensembles])
        spread = float(np.clip(np.exp(-ratio), *SPREADS))
        return [m.mean(0) + spread * (m - m.mean(0)) for m in ensembles], spread

    members[0.0], spread = honest(draw(0.0, 1.0))
    inflation = spread**2
    spreads = {0.0: 1.0}
    for strength in strengths[1:]:
        members[strength], spreads[strength] = honest(draw(strength, inflation))
    results = {s: float(np.mean([measures.mean_crps(m, truth, weights) for m in members[s]])) for s in strengths}
    strength = min(results, key=lambda s: results[s])
    step = float(np.median(np.diff(one.stamps[first:]))) if one.held_out > 1 else 0.0
    if 0 < step <= 6:
        memory = _memory(prior, one, grid, window, step)
    scores = {
        "crps_gaussian": results[0.0],
        "crps": results[strength],
        "spread_skill": float(np.mean([measures.spread_skill(m, truth, weights) for m in members[strength]])),
    }
    return Calibration(strength, inflation, spreads[strength], memory), scores


def _memory(prior: Prior, one: Series, grid: Grid, window: tuple[slice, slice], step: float) -> float:
    """The memory of `SlowNoise` with which members' deviations have the lag-1 autocorrelation of interpolation's errors."""
    coarse_grid = grid.coarsen(8)
    operator = Coarsening.between(grid, coarse_grid)
    backgrounds = Backgrounds(prior, one.variable, grid, coarse_grid, operator)
    errors = []
    for t in range(one.trained, min(one.trained + 24, len(one.values))):
        field = one.values[(t, *window)].astype(np.float64)
        if not np.isfinite(field).all():
            return 0.0
        exact = operator.whole(torch.from_numpy(field)[None, None])[0].numpy()
        background = backgrounds.at(exact, float(one.hours[t]))
        values = torch.from_numpy(exact)[operator.kept]
        noise = torch.full_like(values, 1e-3 * float(background.deviation.mean()))
        z = posterior_mean(posterior_of(background, operator, values, noise))
        errors.append(field - (background.mean + background.deviation * z)[0, 0].numpy())
    correlation = float(np.clip(measures.lag_autocorrelation(np.stack(errors)), 0.02, 0.995))
    return float(step / np.sqrt(-2 * np.log(correlation)))

"""The atmosphere model beside optimal interpolation's ensemble, on days that neither has seen.

    python benchmarks/atmosphere.py MODEL [--every 6] [--output results.json]

For 2 m temperature of the British Isles (20 to 23 March 2019) and water vapour on two tropical tiles (20 to 23 June 2014):
cells 4 and 8 times as wide, the wider ones also with 50 stations of 0.5 K error (observed cells are not scored). Optimal
interpolation has the sample covariance of the training days; its localisation and its inflation are those that score best
on the first half of the days, and both are scored by the same code with 16 members. Needs the data in ../shared.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.operators import LinearOperator, Stack
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere import measures
from ornstein.domains.atmosphere.archive import FieldSource, Series, load_series
from ornstein.domains.atmosphere.background import Background, Region
from ornstein.domains.atmosphere.baselines import interpolate
from ornstein.domains.atmosphere.covariances import regional
from ornstein.domains.atmosphere.operator import Coarsening, at_points
from ornstein.domains.atmosphere.prior import Backgrounds, Prior, load_prior
from ornstein.domains.atmosphere.sampling import Settings, ensemble

GEO = Path(__file__).parents[2] / "shared/data/geo"
MEMBERS = 16
RADII = (12.0, 16.0, 24.0, 32.0)
INFLATIONS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35)


def cases() -> list[tuple[str, Series, tuple[slice, slice], bool]]:
    """Name, series, part of its grid, and whether stations are tried."""
    (uk,) = load_series(FieldSource(str(GEO / "era5_t2m_uk_201903_01-23_hourly.nc"), hold_out=96, region="uk"))
    (tqv,) = load_series(FieldSource(str(GEO / "merra2_tqv_3h_tropics_*.nc"), hold_out=32, region="tropics"))
    tiles = [(slice(top, top + 48), slice(left, left + 48)) for top, left in ((40, 100), (64, 300))]
    found = [("t2m", uk, (slice(0, 32), slice(0, 48)), True)]
    return found + [(f"tcwv-{i + 1}", tqv, tile, False) for i, tile in enumerate(tiles)]


def compare(
    prior: Prior, name: str, one: Series, window: tuple[slice, slice], stations: bool, every: int
) -> list[dict]:
    """One row a task and method."""
    grid = one.grid.cut(*window)
    values = one.values[(slice(None), *window)].astype(np.float64)
    here = replace(one, values=values.astype(np.float32), grid=grid)
    place = here.learn(np.arange(one.trained), one.trained, True)
    times = np.arange(one.trained, len(values), every)
    truth, tune = values[times], slice(0, len(times) // 2)
    weights = measures.latitude_weights(grid)
    cells = np.random.default_rng(0).choice(weights.size, 50, replace=False)
    covariances = {r: regional(torch.from_numpy(place.anomalies), grid, r, 1.0) for r in RADII}
    rows = []
    for factor, seen in ((4, False), (8, False), *([(8, True)] if stations else [])):
        coarse_grid = grid.coarsen(factor)
        operator = Coarsening.between(grid, coarse_grid)
        points, _ = at_points(grid, grid.latitudes[cells // grid.shape[1]], grid.longitudes[cells % grid.shape[1]])
        scored = weights.copy()
        if seen:
            scored.ravel()[cells] = 0
        count = int(operator.kept.sum())
        task = f"{name} x{factor}" + (" + 50 stations" if seen else "")
        measured: LinearOperator = Stack((operator, points), ((count,), (50,))) if seen else operator
        made: dict[str, list[np.ndarray]] = {}
        backgrounds = Backgrounds(prior, one.variable, grid, coarse_grid, operator)
        began = time.perf_counter()
        for number, t in enumerate(times):
            field = torch.from_numpy(truth[number])[None, None]
            exact = operator.whole(field)[0].numpy()
            v = measured.forward(field)[0]
            random = torch.Generator().manual_seed(int(t))
            v[count:] += 0.5 * torch.randn(len(v) - count, generator=random, dtype=torch.float64)
            hour, day, stamp = (float(x[t]) for x in (one.hours, one.days, one.stamps))
            background = backgrounds.at(exact, hour)
            noise = torch.full_like(v, 1e-3 * float(background.deviation.mean()))
            noise[count:] = 0.5
            c = backgrounds.calibration
            features = prior.features(one.variable, grid, hour, day)[None, None]
            settings = Settings(
                MEMBERS,
                seed=1,
                hours=stamp,
                memory=c.memory,
                strength=c.strength,
                inflation=c.inflation,
                spread=c.spread,
            )
            found = ensemble(background, measured, v, noise, settings, prior.network, features)
            made.setdefault("model", []).append(found[:, 0].numpy())
            mean = place.mean((slice(None), slice(None)), hour)[None]
            for radius, covariance in covariances.items():
                for inflation in INFLATIONS:
                    gaussian = GaussianDenoiser(torch.zeros(1, *grid.shape), covariance)
                    size = torch.full(mean.shape, place.scale * inflation, dtype=torch.float64)
                    own = Background(torch.from_numpy(mean), size, gaussian, "")
                    plain = Settings(MEMBERS, seed=1, hours=stamp, memory=c.memory)
                    label = f"optimal interpolation {radius:g} {inflation:g}"
                    made.setdefault(label, []).append(ensemble(own, measured, v, noise, plain)[:, 0].numpy())
            made.setdefault("bicubic", []).append(interpolate(exact, coarse_grid, grid, "bicubic"))
        ensembles = {label: np.stack(parts, 1) for label, parts in made.items()}
        chosen = min(
            (n for n in ensembles if n.startswith("optimal")),
            key=lambda n: measures.mean_crps(ensembles[n][:, tune], truth[tune], scored),
        )
        reference = (measures.crps(ensembles[chosen], truth) * scored).mean((1, 2))
        for label in ("bicubic", chosen, "model"):
            members = ensembles[label]
            score = (measures.crps(members, truth) * scored).mean((1, 2))
            skill = measures.bootstrap_skill(score, reference, max(1, 24 // every if name == "t2m" else 8 // every))
            row = {"task": task, "method": label, **measures.measure(members, truth, grid, scored > 0)}
            if len(members) > 1:
                row |= further(members, truth, np.stack([mean_of(here, place, t) for t in times]), scored, every)
                if prior.terrain is not None:
                    row |= by_place(members, truth, grid, one.hours[times], prior.heights(grid), scored)
            rows.append(row | {"skill": skill[0], "skill_low": skill[1], "skill_high": skill[2]})
        print(f"{task}: {time.perf_counter() - began:.0f} s for {len(times)} times", flush=True)
        for row in rows[-3:]:
            line = "  ".join(f"{k} {row[k]:.4f}" for k in ("rmse", "crps", "spread_skill", "power_band4") if k in row)
            print(
                f"  {row['method']:32} {line}  skill {row['skill']:+.3f} [{row['skill_low']:+.3f}, {row['skill_high']:+.3f}]"
            )
    return rows


def mean_of(one: Series, place: Region, time: int) -> np.ndarray:
    """The climatology of a time, (rows, columns)."""
    return place.mean((slice(None), slice(None)), float(one.hours[time]))


def further(
    members: np.ndarray, truth: np.ndarray, climatology: np.ndarray, scored: np.ndarray, every: int
) -> dict[str, float]:
    """The rank histogram's chi-squared, for values that are independent over blocks of 8 x 8 cells and 6 times; and, of
    consecutive times, how much the lag-1 autocorrelation of the members' anomalies exceeds the truth's."""
    histogram = measures.rank_histogram(members, truth, scored)
    blocks = truth[0].size / 64 * max(1.0, len(truth) * every / 6)
    found = {"rank_chi_squared": measures.rank_chi_squared(histogram, blocks)}
    if every == 1:
        wanted = measures.lag_autocorrelation(truth - climatology)
        found["lag_excess"] = measures.lag_autocorrelation(members - climatology) - wanted
    return found


def by_place(
    members: np.ndarray, truth: np.ndarray, grid: Grid, hours: np.ndarray, heights: np.ndarray, scored: np.ndarray
) -> dict[str, float]:
    """Spread-skill over land, sea, coast (within a cell of both), by day (6 to 18 local solar time) and by night."""
    land = heights > 10
    padded = np.pad(land, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean((2, 3))
    coast = (windows > 0) & (windows < 1)
    local = (hours[:, None, None] + grid.longitudes / 15) % 24
    day = np.broadcast_to((local >= 6) & (local < 18), truth.shape)
    parts = {"land": land & ~coast, "sea": ~land & ~coast, "coast": coast, "day": day, "night": ~day}
    return {
        f"spread_skill_{name}": measures.spread_skill(members, truth, scored * np.broadcast_to(part, truth.shape))
        for name, part in parts.items()
        if np.any(part)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--every", type=int, default=6, help="every so many times are scored")
    parser.add_argument("--only", default="", help="the cases whose names begin so")
    parser.add_argument("--output", help="a JSON file for the rows")
    given = parser.parse_args()
    prior = load_prior(given.model)
    rows = []
    for name, one, window, stations in cases():
        if name.startswith(given.only):
            rows += compare(prior, name, one, window, stations, given.every)
    if given.output:
        Path(given.output).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

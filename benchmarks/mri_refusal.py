"""Whether `ornstein mri reconstruct` refuses what its prior was not made for, and no head.

    python benchmarks/mri_refusal.py [--settings N] [--model NAME] [--json FILE]

Volumes of heads and of other things (mri_refusal_cases.py) become k-space by the simulator, in several settings each;
measured k-space of two heads, and noise, come as they are. Each scan is judged as the pipeline judges it: by quick images
of eight slices spread over those asked for. Where ../shared is absent, the cases that need it are left out.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from machine import facts
from mri_refusal_cases import DATA, Case, heads, others

from ornstein.core.errors import ModelError
from ornstein.datasets.kspace import KSpace, Scan, open_kspace
from ornstein.datasets.kspace_simulation import simulate_scan
from ornstein.domains.mri.content import contains_object
from ornstein.domains.mri.typicality import LIMIT, judge
from ornstein.pipelines import mri
from ornstein.pipelines.models import Model, find_model

SETTINGS = (
    {"acceleration": 4, "pattern": "random", "coils": 8, "noise": 0.005},
    {"acceleration": 8, "pattern": "equispaced", "coils": 8, "noise": 0.005},
    {"acceleration": 8, "pattern": "random", "coils": 4, "noise": 0.03},
    {"acceleration": 4, "pattern": "equispaced", "coils": 1, "noise": 0.005},
    {"acceleration": 8, "pattern": "poisson", "coils": 4, "noise": 0.005},
    {"acceleration": 4, "pattern": "radial", "coils": 4, "noise": 0.03},
    {"acceleration": 4, "pattern": "random", "coils": 4, "noise": 0.03},
    {"acceleration": 8, "pattern": "equispaced", "coils": 1, "noise": 0.03},
)


CANDIDATES = 24
"""Slices that are tried for holding more than noise; the pipeline tries all, from which it takes eight."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A scan as the judge sees it.

    Args:
        name: of the case.
        head: whether it must pass.
        setting: of the simulator, in words.
        images: quick magnitude images (slices, readout, phase); None where no slice holds more than noise.
    """

    name: str
    head: bool
    setting: str
    images: np.ndarray | None


def simulated(case: Case, settings: int, start: int) -> Iterator[Seen]:
    """A case along each of its axes, in so many settings, the first one numbered `start`."""
    volume, affine = case.make()
    for axis in case.axes:
        for n in range(settings):
            setting = SETTINGS[(start + n) % len(SETTINGS)]
            scan = simulate_scan(volume, affine, slice_axis=axis, seed=start + n, **setting)
            first = int(case.slices[0] * scan.slices)
            last = max(int(case.slices[1] * scan.slices), first + 1)
            words = ", ".join(f"{name} {value}" for name, value in setting.items())
            yield Seen(case.name, case.head, f"slice axis {axis}, {words}", quick(scan, first, last))
        start += settings


def measured() -> Iterator[Seen]:
    """Real k-space of two heads; noise of no object."""
    for file in sorted((DATA / "kspace").glob("*_8coil_*")):
        with open_kspace(file) as scan:
            yield Seen(file.name, True, "as it is", quick(scan, 0, scan.slices))
    draw = np.random.default_rng(0)
    lines = draw.random(160) < 0.3
    lines[74:86] = True
    for words, shape, mask in (
        ("8 coils", (3, 8, 192, 160), None), ("1 coil", (3, 1, 96, 80), None), ("8 coils, lines", (3, 8, 192, 160), lines),
    ):  # fmt: skip
        noise = (draw.standard_normal(shape) + 1j * draw.standard_normal(shape)).astype(np.complex64)
        scan = KSpace(noise if mask is None else noise * mask, mask=mask).as_scan()
        yield Seen("noise", False, words, quick(scan, 0, scan.slices))


def quick(scan: Scan, first: int, last: int) -> np.ndarray | None:
    """What the pipeline shows to the judge of a scan that has only the slices [first, last)."""
    some = np.unique(np.linspace(first, last - 1, CANDIDATES).round().astype(int))
    holds = [contains_object(scan.load(n, n + 1).data, scan.mask, scan.trajectory)[0] for n in some]
    return mri.quick_survey(scan, some[holds], None, None, 12, "cpu").images if any(holds) else None


def cases(settings: int) -> Iterator[Seen]:
    """All scans, each case in so many settings along each of its axes; 0 for one setting along the first."""
    yield from measured()
    number = 0
    for case in (*heads(), *others()):
        some = case if settings else replace(case, axes=case.axes[:1])
        try:
            yield from simulated(some, max(settings, 1), number)
        except FileNotFoundError:
            print(f"{case.name}: left out, its data are not there")
        number += len(case.axes)


def row(seen: Seen, model: Model) -> dict[str, object]:
    """The verdict on a scan; noise is refused before the judge sees it."""
    verdict = None if seen.images is None else judge(model.folder, model.card, seen.images)
    if seen.images is not None and verdict is None:
        raise ModelError(f"{model.name} has no judge", "Train it with `judge` in its configuration.")
    odds, refused = (None, True) if verdict is None else (round(verdict.log_odds, 2), not verdict.typical)
    return {"case": seen.name, "head": seen.head, "setting": seen.setting, "log_odds": odds, "refused": refused}


def summary(rows: list[dict]) -> dict[str, object]:
    """Rates, and how far the nearest scan is from the limit."""
    found: dict[str, object] = {"limit": LIMIT}
    for name, head in (("heads", True), ("others", False)):
        some = [r for r in rows if r["head"] is head]
        odds = sorted(r["log_odds"] for r in some if r["log_odds"] is not None)
        found[name] = {
            "scans": len(some),
            "refused": sum(r["refused"] for r in some),
            "log_odds": {f"{p} %": round(float(np.percentile(odds, p)), 2) for p in (0, 5, 50, 95, 100)},
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=int, default=1, help="of the simulator, for each case along each axis")
    parser.add_argument("--model", help="name or folder of the prior; the shipped one by default")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    options = parser.parse_args()
    model = find_model(options.model, "mri")
    rows = []
    for seen in cases(options.settings):
        rows.append(made := row(seen, model))
        right = made["refused"] is not made["head"]
        print(f"{'' if right else 'WRONG ':6}{made['case']:34} {made['log_odds']!s:>6}  {made['setting']}", flush=True)
    print(json.dumps(summary(rows), indent=2))
    if options.json:
        options.json.write_text(
            json.dumps({"machine": facts(), "summary": summary(rows), "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

"""Posterior samplers where the posterior is known: error of mean and covariance, coverage, evaluations and time.

    python benchmarks/posterior.py [--quick] [--samples N] [--json FILE] [--keep]
    python benchmarks/posterior.py --picture docs/inverse.svg --table docs/inverse.md

Each method draws samples for the same twenty y of a Gaussian and of a mixture of four (see posterior_targets.py). Errors are
means over the y, those of the mean over sqrt(tr C), those of the covariance relative in Frobenius's norm; `exact_*` is what as
many exact samples score, as a mean over some draws. `coverage90` is the share of exact posterior samples within the 5th and
the 95th percentile of the method's. Ours stand as `auto` (the default) and by their papers' names. Peers are measured where
they are installed.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from machine import facts
from posterior_particles import afdps, tds, two_priors
from posterior_peers import LIBRARIES, Method, Run, azula_dps, installed
from posterior_report import draw, write_table
from posterior_targets import NOISE, PRIORS, SIZE, WIDE, Problem, problem, scores
from torch import Tensor

from ornstein.core.denoisers import Denoiser
from ornstein.core.grids import Karras
from ornstein.core.inverse.auto import sample_posterior
from ornstein.core.inverse.chains import sample_daps, sample_dps
from ornstein.core.inverse.jacobian import Counted
from ornstein.core.inverse.matching import MatchedPosterior, spherical
from ornstein.core.inverse.posterior import LinearPosterior
from ornstein.core.inverse.projection import NullSpacePosterior, proximal_posterior
from ornstein.core.operators import Matrix
from ornstein.core.solvers import Exponential, Solver, sample

RESULTS = Path(__file__).parent / "results" / "posterior.json"
SAMPLES, QUICK_SAMPLES, QUICK_SECONDS, EXACT_DRAWS = 2048, 512, 40, 4
ANCESTRAL, FLOW, AFRESH = (
    Exponential(1, eta=1.0),
    Exponential(4, weights="angle", corrector=True),
    Exponential(1, renoise=True),
)


def auto(steps: dict[str, int], weighted: bool | None = None) -> Run:
    def run(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
        return sample_posterior(
            denoiser, Matrix(problem.matrix), problem.y, NOISE,
            shape=(SIZE,), samples=samples, steps=steps[problem.name], weighted=weighted,
        )  # fmt: skip

    return run


def noise_of(seed: int):
    """Noise of one generator: keyed noise for thousands of rows would be most of the time."""
    generator = torch.Generator().manual_seed(seed)
    return lambda step, shape, dtype, device: torch.randn(shape, dtype=dtype, generator=generator)


def wrapped(kind: str, solver: Solver, steps: int) -> Run:
    """A posterior denoiser, sampled."""

    def run(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
        operator, y = Matrix(problem.matrix), problem.y.repeat_interleave(samples, dim=0)
        deviation = 1.0
        posterior: Denoiser = {
            "MMPS": lambda: MatchedPosterior(denoiser, operator, y, NOISE, iterations=8),
            "TMPD": lambda: MatchedPosterior(denoiser, operator, y, NOISE, "row-sums"),
            "PiGDM": lambda: MatchedPosterior(denoiser, operator, y, NOISE, spherical(deviation), iterations=8),
            "DDS": lambda: LinearPosterior(denoiser, operator, y, NOISE, spherical(deviation), iterations=8),
            "DDNM": lambda: NullSpacePosterior(denoiser, operator, y, NOISE),
            "DiffPIR": lambda: proximal_posterior(denoiser, operator, y, NOISE, iterations=8),
        }[kind]()
        x = sample(
            posterior, solver=solver, grid=Karras(), steps=steps, noise=noise_of(1), shape=(len(y), SIZE), dtype=WIDE
        )
        return x.reshape(len(problem.y), samples, SIZE)

    return run


def dps(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
    y = problem.y.repeat_interleave(samples, dim=0)
    x = sample_dps(
        denoiser, Matrix(problem.matrix), y, shape=(len(y), SIZE), steps=1000, strength=0.3, noise=noise_of(1)
    )
    return x.reshape(len(problem.y), samples, SIZE)


def daps(problem: Problem, denoiser: Denoiser, samples: int) -> Tensor:
    y = problem.y.repeat_interleave(samples, dim=0)
    x = sample_daps(
        denoiser, Matrix(problem.matrix), y, NOISE, shape=(len(y), SIZE), steps=20, inner_steps=5, noise=noise_of(1)
    )
    return x.reshape(len(problem.y), samples, SIZE)


def methods(quick: bool) -> Iterator[Method]:
    """The default, peers, and our other methods; a library is imported when it is reached."""
    ours = [
        Method("ornstein", "auto", auto({"gauss": 20, "gmm4": 50})),
        Method("ornstein", "auto, unweighted", auto({"gauss": 20, "gmm4": 50}, weighted=False), quick=False),
        Method("ornstein", "MMPS, flow, 20", wrapped("MMPS", FLOW, 20)),
        Method("ornstein", "MMPS, 100", wrapped("MMPS", ANCESTRAL, 100), quick=False),
        Method("ornstein", "TMPD, 100", wrapped("TMPD", ANCESTRAL, 100), quick=False),
        Method("ornstein", "PiGDM, 100", wrapped("PiGDM", ANCESTRAL, 100), quick=False),
        Method("ornstein", "DDS, 100", wrapped("DDS", AFRESH, 100), quick=False),
        Method("ornstein", "DDNM, 100", wrapped("DDNM", Exponential(1, eta=0.85), 100), quick=False),
        Method("ornstein", "DiffPIR, 100", wrapped("DiffPIR", ANCESTRAL, 100), quick=False),
        Method("ornstein", "DAPS, 20 x 5", daps, quick=False),
        Method("ornstein", "twisted SMC, 100", tds, quick=False),
        Method("ornstein", "AFDPS, 100", afdps, quick=False),
        Method("ornstein", "two priors, 20", two_priors, quick=False, alone=True),
    ]
    yield ours[0]
    for library, peers in LIBRARIES.items():
        if quick and library == "deepinv":  # it takes long to import
            continue
        if installed(library):
            yield from (peer for peer in peers() if (peer.quick or not quick) and not peer.name.startswith("DPS"))
        else:
            print(f"{library} is left out: it is not installed (uv sync --group bench)")
    yield from (method for method in ours[1:] if method.quick or not quick)
    if not quick:
        yield Method("ornstein", "DPS, 1000", dps)
        if installed("azula"):
            yield azula_dps()


def measure(quick: bool, priors: list[str], samples: int) -> Iterator[dict[str, object]]:
    """A row for each method and prior. With `quick` none is begun after `QUICK_SECONDS`, but for the default's."""
    begin = time.monotonic()
    torch.set_num_threads(1)
    problems = [problem(name) for name in priors]
    truths = [one.exact(4096, seed=9) for one in problems]
    floors = []
    for one, truth in zip(problems, truths, strict=True):
        drawn = [scores(one.exact(samples, seed), one, truth) for seed in range(EXACT_DRAWS)]
        floors.append({f"exact_{k}": sum(d[k] for d in drawn) / len(drawn) for k in drawn[0] if k != "coverage90"})
    for method in methods(quick):
        for one, truth, floor in zip(problems, truths, floors, strict=True):
            if quick and method.name != "auto" and time.monotonic() - begin > QUICK_SECONDS:
                print(f"the time of --quick is over before {method.library} {method.name} on {one.name}")
                return
            torch.manual_seed(0)
            counted, start = Counted(one.denoiser), time.perf_counter()
            x, count = run(method, one, counted, samples)
            seconds = time.perf_counter() - start
            row = {
                "library": method.library, "method": method.name, "prior": one.name,
                "evaluations": counted.evaluations // count, "vjps": counted.vjps // count,
                "seconds": round(seconds, 2), **scores(x, one, truth), **floor, "samples": samples,
            }  # fmt: skip
            yield row
            print(
                f"{method.library} {method.name} {one.name}: {row['mean_error']:.3f} {row['covariance_error']:.3f}",
                flush=True,
            )


def run(method: Method, one: Problem, denoiser: Counted, samples: int) -> tuple[Tensor, int]:
    """The samples, and how many calls of the method they took."""
    if not method.alone:
        return method.run(one, denoiser, samples).double(), 1
    parts = [method.run(replace(one, y=one.y[i : i + 1]), denoiser, samples).double() for i in range(len(one.y))]
    return torch.cat(parts), len(parts)


def table(rows: list[dict[str, object]]) -> str:
    """All rows, with what exact samples score at the head."""
    lines = [f"{'':34}{'prior':8}{'NFE':>6}{'VJP':>6}{'mean':>9}{'exact':>9}{'cov':>9}{'exact':>9}{'cover':>8}{'s':>8}"]
    for r in rows:
        lines.append(
            f"{r['library']} {r['method']}"[:33].ljust(34)
            + f"{r['prior']:8}{r['evaluations']:>6}{r['vjps']:>6}{r['mean_error']:>9.3f}{r['exact_mean_error']:>9.3f}"
            + f"{r['covariance_error']:>9.3f}{r['exact_covariance_error']:>9.3f}{r['coverage90']:>8.3f}{r['seconds']:>8}"
        )
    return "\n".join(lines)


def keep(rows: list[dict[str, object]], command: str) -> None:
    """Writes the rows, a line each, with four digits."""

    def short(row: dict[str, object]) -> dict[str, object]:
        return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}

    head = json.dumps({"command": command, "machine": facts(), "rows": []}, indent=1)
    lines = ",\n".join(json.dumps(short(row)) for row in rows)
    RESULTS.write_text(head.replace('"rows": []', f'"rows": [\n{lines}\n]') + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples and methods: under a minute")
    parser.add_argument("--priors", nargs="+", metavar="NAME", choices=PRIORS, default=list(PRIORS), help="gauss, gmm4")
    parser.add_argument("--samples", type=int, metavar="N", help=f"of each posterior; {SAMPLES}, quick {QUICK_SAMPLES}")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--keep", action="store_true", help=f"keep the rows in {RESULTS.name}")
    parser.add_argument("--picture", metavar="FILE", help="draw the kept results there, and measure nothing")
    parser.add_argument("--table", metavar="FILE", help="put a table of the kept results into this page, likewise")
    arguments = parser.parse_args()
    if arguments.picture or arguments.table:
        kept = json.loads(RESULTS.read_text())
        if arguments.picture:
            draw(kept["rows"], arguments.picture)
        if arguments.table:
            write_table(kept["rows"], arguments.table)
        return
    samples, rows = arguments.samples or (QUICK_SAMPLES if arguments.quick else SAMPLES), []
    for row in measure(arguments.quick, arguments.priors, samples):
        rows.append(row)
        if arguments.keep:  # at once: the slowest methods come last
            keep(rows, "python benchmarks/posterior.py --keep" + f" --samples {samples}" * (samples != SAMPLES))
    print(table(rows))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Solvers on exact targets and on the shipped MRI prior: error against evaluations, and what a solver costs by itself.

    python benchmarks/solvers.py [--quick] [--targets NAME ...] [--json FILE] [--keep]
    python benchmarks/solvers.py --picture docs/solvers.svg --table docs/solvers.md

Three targets have exact denoisers, so that all error is the solver's: `gmm2` (eight modes on a circle), `gmm64` (ten modes in
64 dimensions), `gauss64` (variances from 1e-4 to 1). Every sampler starts from the same noise at sigma 80 and is compared at
sigma 0.002 with the probability flow's exact end there: the closed form for the Gaussian, and for the rest our own
fourth-order run of many steps, whose error is estimated by halving them. `mri-prior` is the shipped network. Its error is
the distance to its own 200-step solution. Grids: K is Karras's (rho 7), L uniform in log-SNR, U uniform in t on the
variance-preserving path. Ours stand as `auto` (the default, teleported by a mean and a covariance of 1,000 samples),
`auto-exact-covariance`, `auto-no-teleport`, and each solver by its paper's name. Peers are measured where they are installed.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import facts
from solvers_peers import LIBRARIES, Peer, installed
from solvers_report import draw, write_table
from solvers_targets import PATH, TARGETS, Problem, identity, levels, problems, rmse, sliced_wasserstein
from torch import Tensor

from ornstein.core import grids
from ornstein.core.gaussian import Teleport
from ornstein.core.paths import VariancePreserving
from ornstein.core.solvers import BDIA, Exponential, Heun, Solver, sample

RESULTS = Path(__file__).parent / "results" / "solvers.json"
NOTE = "The machine did other work at the same time: overheads are the least of several runs."
EXACT_BUDGETS, PRIOR_BUDGETS = (5, 10, 20, 50), (5, 8, 12, 20)
SEEDS, SAMPLES, QUICK_SAMPLES, QUICK_SECONDS = 5, 4096, 3072, 45
PRIOR_SEEDS = 3
QUICK = {
    "azula": ("zEAB3 K", "vAB3 U"),
    "k-diffusion": ("DPM++ 2M K",),
    "diffusers": ("DPM++ 3M L", "UniPC3 U", "UniPC3 L", "DEIS3 full K"),
}

VP = VariancePreserving()
UNIFORM = grids.Uniform(float(VP.time_of(-math.log(80.0))), float(VP.time_of(-math.log(0.002))))
GRIDS = {"K": (PATH, grids.Karras()), "L": (PATH, grids.LogSNR()), "U": (VP, UNIFORM)}
OURS: dict[str, tuple[Solver, str]] = {
    "DDIM": (Exponential(1), "KU"),
    "DPM++ 2M": (Exponential(2, weights="dpm"), "KL"),
    "DPM++ 3M": (Exponential(3, weights="dpm"), "KL"),
    "DPM++ 2S": (Exponential(2, weights="dpm", multistep=False), "K"),
    "DPM-Solver 2M": (Exponential(2, "noise", "dpm"), "K"),
    "DPM-Solver 2S": (Exponential(2, "noise", "dpm", multistep=False), "K"),
    "DPM-Solver 3S": (Exponential(3, "noise", "dpm", multistep=False), "K"),
    "DEIS 2, log(rho)": (Exponential(2, "noise", corrector=False), "K"),
    "DEIS 3, log(rho)": (Exponential(3, "noise", corrector=False), "K"),
    "DEIS 3, rho": (Exponential(3, "noise", "power", corrector=False), "K"),
    "PNDM": (Exponential(4, "noise", "adams"), "U"),
    "UniPC 2": (Exponential(2, weights="b2", corrector=True), "KL"),
    "UniPC 3": (Exponential(3, weights="b2", corrector=True), "KLU"),
    "UniPC 3, B1": (Exponential(3, weights="b1", corrector=True), "K"),
    "UniPC 3, noise": (Exponential(3, "noise", "b2", corrector=True), "K"),
    "UniPC 4": (Exponential(4, weights="b2", corrector=True), "K"),
    "data 2": (Exponential(2), "K"),
    "data 3": (Exponential(3), "KL"),
    "data 4": (Exponential(4), "K"),
    "noise 3": (Exponential(3, "noise"), "K"),
    "angle 3": (Exponential(3, weights="angle"), "K"),
    "angle 4, corrected": (Exponential(4, weights="angle", corrector=True), "K"),
    "Heun": (Heun(), "K"),
    "BDIA": (BDIA(), "K"),
}


@dataclass(frozen=True)
class Method:
    """A sampler: run(problem, evaluations) is its end state, or None where the problem or the budget has no place for it."""

    library: str
    sampler: str
    run: Callable[[Problem, int], Tensor | None]
    used: Callable[[int], int] = int


def default(covariance: str) -> Callable[[Problem, int], Tensor | None]:
    def run(problem: Problem, evaluations: int) -> Tensor | None:
        gaussian = {"none": None, "estimated": problem.estimated, "exact": problem.exact}[covariance]
        if gaussian is None and covariance == "exact":
            return None
        jump = None if gaussian is None else Teleport(gaussian)
        return sample(problem.denoiser, steps=evaluations, x_start=problem.x, teleport=jump)

    return run


def setting(solver: Solver, letter: str) -> Method:
    path, grid = GRIDS[letter]
    ends = path.coefficients(torch.tensor([grid.start, grid.end], dtype=torch.float64)).a.tolist()

    def steps(evaluations: int) -> int:
        return max(n for n in range(evaluations + 1) if n == 0 or solver.evaluations(n) <= evaluations)

    def run(problem: Problem, evaluations: int) -> Tensor | None:
        n = steps(evaluations)
        denoiser = problem.denoiser.on(path)
        return sample(denoiser, solver=solver, grid=grid, steps=n, x_start=problem.x * ends[0]) / ends[1] if n else None

    return Method("ornstein", "", run, lambda evaluations: solver.evaluations(steps(evaluations)))


def theirs(peer: Peer) -> Method:
    path, grid = GRIDS[peer.grid]

    def run(problem: Problem, evaluations: int) -> Tensor:
        return peer.run(problem.denoise, problem.x, levels(path, grid, evaluations // peer.cost))

    return Method(peer.library, peer.name, run, lambda evaluations: evaluations // peer.cost * peer.cost)


def methods(quick: bool) -> Iterator[Method]:
    """The default first, then peers, then our other settings; a library is imported when it is reached."""
    yield Method("ornstein", "auto", default("estimated"))
    yield Method("ornstein", "auto-no-teleport", default("none"))
    yield Method("ornstein", "auto-exact-covariance", default("exact"))
    for library, peers in LIBRARIES.items():
        if quick and library not in QUICK:  # deepinv takes long to import
            continue
        if installed(library):
            yield from (theirs(peer) for peer in peers() if not quick or peer.name in QUICK[library])
        else:
            print(f"{library} is left out: it is not installed (uv sync --group bench)")
    for name, (solver, letters) in OURS.items():
        for letter in letters[:1] if quick else letters:
            made = setting(solver, letter)
            yield Method("ornstein", f"{name} {letter}", made.run, made.used)


def overhead(method: Method, evaluations: int, repeats: int) -> float:
    """Microseconds an evaluation beside the network's own, for one 1x64 tensor of float32: the least of some runs."""
    problem, best = identity(), math.inf
    for _ in range(repeats + 1):  # the first one warms up
        begin = time.perf_counter()
        method.run(problem, evaluations)
        best = min(best, time.perf_counter() - begin)
    return best / method.used(evaluations) * 1e6


def measure(quick: bool, names: list[str]) -> list[dict[str, object]]:
    """A row for each method, target and budget: means over the seeds."""
    begin, rows = time.monotonic(), []
    torch.set_num_threads(1)
    samples, seeds = (QUICK_SAMPLES, 1) if quick else (SAMPLES, SEEDS)
    sets = {
        name: problems(name, samples, min(seeds, PRIOR_SEEDS) if name == "mri-prior" else seeds, quick)
        for name in names
    }
    for name, some in sets.items():
        print(f"{name}: {len(some)} seeds, the reference is known to {max(one.doubt for one in some):.1e}", flush=True)
    for method in methods(quick):
        if quick and time.monotonic() - begin > QUICK_SECONDS:
            print(f"the time of --quick is over before {method.library} {method.sampler}")
            break
        cost = overhead(method, 50, 10 if quick else 20)
        for name, some in sets.items():
            for n in PRIOR_BUDGETS if name == "mri-prior" else EXACT_BUDGETS:
                found = [(one, end) for one in some if (end := method.run(one, n)) is not None]
                if found:
                    errors = torch.tensor([rmse(end, one.end) for one, end in found])
                    distance = [sliced_wasserstein(end, one.end) for one, end in found if len(end) > 1]
                    rows.append({
                        "library": method.library, "sampler": method.sampler, "target": name, "evaluations": n,
                        "rmse": float(errors.mean()),
                        "sliced_wasserstein": sum(distance) / len(distance) if distance else None,
                        "overhead_us": round(cost, 1), "evaluations_used": method.used(n), "seeds": len(found),
                        "rmse_std": float(errors.std()) if len(found) > 1 else None,
                    })  # fmt: skip
        print(f"{method.library} {method.sampler}", flush=True)
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """The root-mean-square errors of all rows, and last those of the best peer in each cell."""
    targets = {row["target"]: sorted({r["evaluations"] for r in rows if r["target"] == row["target"]}) for row in rows}
    cells = [(target, n) for target, budgets in targets.items() for n in budgets]
    lines = [f"{'':40}" + "".join(f"{target:>36}" for target in targets)]
    lines.append(f"{'RMSE at evaluations':40}" + "".join(f"{n:>9}" for _, n in cells) + f"{'us/NFE':>9}")

    def line(name: str, found: dict[tuple[object, object], float], end: str) -> str:
        return f"{name:40}" + "".join(f"{found[c]:>9.2g}" if c in found else f"{'-':>9}" for c in cells) + end

    best: dict[tuple[object, object], float] = {}
    for library, sampler in dict.fromkeys((row["library"], row["sampler"]) for row in rows):
        mine = [row for row in rows if (row["library"], row["sampler"]) == (library, sampler)]
        found = {(row["target"], row["evaluations"]): float(row["rmse"]) for row in mine}  # type: ignore[arg-type]
        lines.append(line(f"{library} {sampler}", found, f"{mine[0]['overhead_us']:>9}"))
        if library != "ornstein":
            best |= {cell: min(value, best.get(cell, math.inf)) for cell, value in found.items()}
    return "\n".join([*lines, line("best peer", best, "")] if best else lines)


def keep(rows: list[dict[str, object]], names: list[str], command: str) -> None:
    """Puts the rows in the place of those of the same targets in the kept results."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"note": NOTE, "runs": {}, "rows": []}
    kept["runs"] |= {name: {"command": command, "machine": facts()} for name in names}
    kept["rows"] = [row for row in kept["rows"] if row["target"] not in names] + rows
    RESULTS.write_text(listed(kept))


def listed(kept: dict[str, object]) -> str:
    """JSON with a line for each row, of four digits."""

    def short(row: dict[str, object]) -> dict[str, object]:
        return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}

    rows = ",\n".join(json.dumps(short(row)) for row in kept["rows"])  # type: ignore[attr-defined]
    return json.dumps(kept | {"rows": []}, indent=1).replace('"rows": []', f'"rows": [\n{rows}\n]') + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer samples, one seed, exact targets: under a minute")
    parser.add_argument("--targets", nargs="+", metavar="NAME", choices=TARGETS, help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--keep", action="store_true", help=f"put the rows into {RESULTS.name}, in place of older ones")
    parser.add_argument("--picture", metavar="FILE", help="draw the kept results there, and measure nothing")
    parser.add_argument("--table", metavar="FILE", help="put a table of the kept results into this page, likewise")
    arguments = parser.parse_args()
    if arguments.picture or arguments.table:
        kept = json.loads(RESULTS.read_text())
        if arguments.picture:
            draw(kept["rows"], arguments.picture)
        if arguments.table:
            write_table(kept, arguments.table)
        return
    names = arguments.targets or [name for name in TARGETS if not (arguments.quick and name == "mri-prior")]
    rows = measure(arguments.quick, names)
    print(table(rows))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.keep:
        chosen = f" --targets {' '.join(names)}" if arguments.targets else ""
        keep(rows, names, "python benchmarks/solvers.py" + " --quick" * arguments.quick + chosen + " --keep")


if __name__ == "__main__":
    main()

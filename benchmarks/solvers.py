"""Solvers on three exact targets: error against evaluations, and what a solver costs beside the network.

    python benchmarks/solvers.py [--quick] [--json FILE]

The targets have exact denoisers, so that all error is the solver's: `gmm2` (eight modes on a circle), `gmm64` (ten modes in
64 dimensions), `gauss64` (variances from 1e-4 to 1). Every sampler starts from the same noise at sigma 80 and is compared at
sigma 0.002 with the probability flow's exact end there: the closed form for the Gaussian, and for the mixtures our own
fourth-order run of many steps, whose error is estimated by halving them. Peers are measured where they are installed.
"""

import argparse
import importlib.util
import json
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.denoisers import Denoiser, NetworkDenoiser
from ornstein.core.paths import EDM
from ornstein.core.solvers import Exponential, Heun, Solver, sample

WIDE = torch.float64
LOW, HIGH = 0.002, 80.0
EVALUATIONS = (5, 10, 20, 50)
PATH = EDM(LOW, HIGH)
GRIDS = {"K": grids.Karras(), "L": grids.LogSNR()}
OURS: dict[str, Solver] = {
    "data 1 (DDIM)": Exponential(1),
    "data 2": Exponential(2),
    "data 2 dpm (DPM++ 2M)": Exponential(2, weights="dpm"),
    "data 3": Exponential(3),
    "data 3 dpm (DPM++ 3M)": Exponential(3, weights="dpm"),
    "noise 2": Exponential(2, "noise"),
    "noise 3": Exponential(3, "noise"),
    "data UniPC 2": Exponential(2, weights="b2", corrector=True),
    "data UniPC 3": Exponential(3, weights="b2", corrector=True),
    "noise UniPC 3": Exponential(3, "noise", "b2", corrector=True),
    "Heun": Heun(),
}
Sampler = Callable[[Callable[[Tensor, float], Tensor], Tensor, list[float]], Tensor]


def targets() -> dict[str, Denoiser]:
    generator = torch.Generator().manual_seed(0)
    angle = torch.arange(8, dtype=WIDE) * math.pi / 4
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    modes = torch.randn(10, 64, dtype=WIDE, generator=generator)
    mean = 0.5 * torch.randn(64, dtype=WIDE, generator=generator)
    return {
        "gmm2": MixtureDenoiser(torch.ones(8), ring, torch.full((8,), 0.01, dtype=WIDE), PATH),
        "gmm64": MixtureDenoiser(torch.ones(10), modes, torch.full((10,), 0.04, dtype=WIDE), PATH),
        "gauss64": GaussianDenoiser(mean, torch.logspace(-4, 0, 64, dtype=WIDE), PATH),
    }


def exact_end(denoiser: Denoiser, x: Tensor, steps: int) -> tuple[Tensor, float]:
    """The probability flow's end from x, and an estimate of that answer's own error per coordinate."""
    if isinstance(denoiser, GaussianDenoiser):
        return denoiser.flow(x, 1.0, 0.0), 0.0
    solver, grid = Exponential(3, weights="b2", corrector=True), grids.LogSNR()
    coarse, fine = (sample(denoiser, solver=solver, grid=grid, steps=n, x_start=x) for n in (steps // 2, steps))
    return fine, rmse(fine, coarse) / 15  # of fourth order, so that halving the steps multiplies the error by 16


def rmse(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().mean().sqrt())


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 64) -> float:
    """The 2-Wasserstein distance of projections to lines, as a root mean square over random directions."""
    generator = torch.Generator().manual_seed(1)
    lines = torch.randn(x.shape[1], directions, dtype=x.dtype, generator=generator)
    lines = lines / lines.norm(dim=0)
    return float(((x @ lines).sort(dim=0).values - (y @ lines).sort(dim=0).values).square().mean().sqrt())


def overhead(run: Callable[[Tensor, int], object], evaluations: int = 50, repeats: int = 20) -> float:
    """Microseconds an evaluation beside the network's own, for one 1x64 tensor: the least of some runs."""
    x, best = torch.randn(1, 64), math.inf
    run(x, evaluations)
    for _ in range(repeats):
        begin = time.perf_counter()
        run(x, evaluations)
        best = min(best, time.perf_counter() - begin)
    return best / evaluations * 1e6


class Identity(torch.nn.Module):
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return x


def steps_of(solver: Solver, evaluations: int) -> int:
    return evaluations // solver.evaluations(1)


def ours(quick: bool) -> Iterator[tuple[str, Callable[[Denoiser, Tensor, int], Tensor], float]]:
    network = NetworkDenoiser(Identity(), PATH)
    for name, solver in OURS.items():
        cost = overhead(lambda x, n: sample(network, solver=solver, steps=steps_of(solver, n), x_start=x))  # noqa: B023
        for letter, grid in GRIDS.items():
            if quick and letter == "L":
                continue

            def run(denoiser: Denoiser, x: Tensor, n: int, solver: Solver = solver, grid: grids.Grid = grid) -> Tensor:
                return sample(denoiser, solver=solver, grid=grid, steps=steps_of(solver, n), x_start=x)

            yield f"{name} {letter}", run, cost


def peers() -> Iterator[tuple[str, str, Sampler]]:
    """Each as a function of (denoise(x, sigma), x, sigmas) to the end state, in x = x0 + sigma z."""
    if importlib.util.find_spec("k_diffusion"):
        from k_diffusion import sampling as k

        def wrap(sampler: Callable[..., Tensor], cost: int) -> Sampler:
            def run(denoise: Callable[[Tensor, float], Tensor], x: Tensor, sigmas: list[float]) -> Tensor:
                levels = torch.tensor(sigmas[::cost] if cost > 1 else sigmas, dtype=x.dtype)
                return sampler(lambda x, sigma: denoise(x, sigma), x, levels, disable=True)

            return run

        yield "k-diffusion", "DPM++ 2M K", wrap(k.sample_dpmpp_2m, 1)
    if importlib.util.find_spec("azula"):
        from azula import sample as a

        class Schedule(torch.nn.Module):
            def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
                return torch.ones_like(t), PATH.coefficients(t.double()).s.to(t)

        class Wrapped:
            schedule = Schedule()

            def __init__(self, denoise: Callable[[Tensor, float], Tensor]) -> None:
                self.denoise = denoise

            def __call__(self, x: Tensor, t: Tensor) -> object:
                mean = self.denoise(x, self.schedule(t)[1])
                return type("Posterior", (), {"mean": mean})

        def zeab3(denoise: Callable[[Tensor, float], Tensor], x: Tensor, sigmas: list[float]) -> Tensor:
            return a.zEABSampler(Wrapped(denoise), order=3, steps=len(sigmas) - 1, silent=True, dtype=WIDE)(x)

        yield "azula", "zEAB3 K", zeab3
    if importlib.util.find_spec("diffusers"):
        import diffusers

        def scheduler(kind: str, **settings: object) -> Sampler:
            def run(denoise: Callable[[Tensor, float], Tensor], x: Tensor, sigmas: list[float]) -> Tensor:
                s = getattr(diffusers, kind)(beta_schedule="linear", prediction_type="sample", **settings)
                s.set_timesteps(len(sigmas) - 1)
                s.sigmas = torch.tensor(sigmas, dtype=x.dtype)
                shrunk = [sigma / math.sqrt(1 + sigma**2) / sigma for sigma in sigmas]
                x = x * shrunk[0]
                for i, t in enumerate(s.timesteps):
                    x = s.step(denoise(x / shrunk[i], sigmas[i]), t, x).prev_sample
                return x / shrunk[-1]

            return run

        full = {"lower_order_final": False}
        cut = {"final_sigmas_type": "sigma_min", **full}
        yield "diffusers", "DPM++ 2M K", scheduler("DPMSolverMultistepScheduler", solver_order=2, **cut)
        yield "diffusers", "DPM++ 3M K", scheduler("DPMSolverMultistepScheduler", solver_order=3, **cut)
        yield "diffusers", "UniPC3 K", scheduler("UniPCMultistepScheduler", solver_order=3, **cut)
        yield "diffusers", "DEIS3 K", scheduler("DEISMultistepScheduler", solver_order=3, **full)


def measure(quick: bool) -> list[dict[str, object]]:
    samples, rows = (256 if quick else 4096), []
    theirs = [(library, name, run) for library, name, run in peers()]
    sigmas = {n: PATH.coefficients(GRIDS["K"](PATH, n)).s.tolist() for n in EVALUATIONS}
    costs = {}
    for library, name, run in theirs:
        levels = PATH.coefficients(GRIDS["K"](PATH, 50)).s.tolist()
        costs[library, name] = overhead(lambda x, n: run(lambda x, sigma: x, x, levels), repeats=5)  # noqa: B023
    own = list(ours(quick))
    for target, denoiser in targets().items():
        size = denoiser(torch.zeros(1, 2 if target == "gmm2" else 64, dtype=WIDE), 0.5).shape[1]
        x = HIGH * torch.randn(samples, size, dtype=WIDE, generator=torch.Generator().manual_seed(2))
        end, doubt = exact_end(denoiser, x, 200 if quick else 800)
        print(f"{target}: {samples} samples, the reference is known to {doubt:.1e}")

        def add(
            library: str, name: str, n: int, found: Tensor, cost: float, target: str = target, end: Tensor = end
        ) -> None:
            rows.append({
                "library": library, "sampler": name, "target": target, "evaluations": n, "rmse": rmse(found, end),
                "sliced_wasserstein": sliced_wasserstein(found, end), "overhead_us": round(cost, 1),
            })  # fmt: skip

        for name, run, cost in own:
            for n in EVALUATIONS:
                add("ornstein", name, n, run(denoiser, x, n), cost)
        denoise = lambda x, sigma: denoiser(x, PATH.time_of(-torch.as_tensor(sigma, dtype=WIDE).log()))  # noqa: B023, E731
        for library, name, run in theirs:
            for n in EVALUATIONS:
                add(library, name, n, run(denoise, x, sigmas[n]), costs[library, name])
    return rows


def table(rows: list[dict[str, object]]) -> str:
    names = list(dict.fromkeys((row["library"], row["sampler"]) for row in rows))
    kinds = list(dict.fromkeys(row["target"] for row in rows))
    lines = [f"{'':38}" + "".join(f"{kind:>33}" for kind in kinds) + f"{'us/NFE':>9}"]
    lines.append(
        f"{'RMSE at evaluations':38}" + "".join(f"{n:>9}" if n == 5 else f"{n:>8}" for _ in kinds for n in EVALUATIONS)
    )
    for library, name in names:
        mine = [row for row in rows if (row["library"], row["sampler"]) == (library, name)]
        cells = {(row["target"], row["evaluations"]): f"{row['rmse']:.2g}" for row in mine}
        text = "".join(
            f"{cells[kind, n]:>9}" if n == 5 else f"{cells[kind, n]:>8}" for kind in kinds for n in EVALUATIONS
        )
        lines.append(f"{library + ' ' + name:38}{text}{mine[0]['overhead_us']:>9}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="256 samples and one grid, under a minute")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(arguments.quick)
    print(table(rows))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()

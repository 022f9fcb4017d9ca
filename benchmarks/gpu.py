"""How fast every pipeline is on a device: throughput, the network's share, fraction of the roofline, memory.

    python benchmarks/gpu.py [--device cuda:0] [--quick] [--json benchmarks/results/gpu.json]

For each pipeline, precision, batch and with the network compiled or not: slices a second (the best of some runs, after one
that is not counted), the share of time inside network calls, the floating-point operations of these calls over what a
large bfloat16 matrix product reaches on the device in the same time (`roofline`: of the network's time; `roofline_whole`:
of all the time), and peak memory. The data are simulated; the network is the shipped one, or one of its architecture with
fresh weights where none is shipped, which costs the same.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from machine import facts
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.errors import ModelError
from ornstein.core.inverse.posterior import error_curve
from ornstein.datasets.kspace_simulation import simulate
from ornstein.domains.mri.diffusion import DiffusionSettings, posterior_samples
from ornstein.domains.mri.operator import encode
from ornstein.domains.mri.prior import build, load_prior
from ornstein.pipelines import runtime
from ornstein.pipelines.models import find_model

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.json"


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Args:
        seconds: in all.
        network_seconds: inside network calls, the device waited for.
        flops: of these calls.
    """

    seconds: float
    network_seconds: float
    flops: float


@dataclass(frozen=True)
class Pipeline:
    """A pipeline to measure.

    Args:
        name: of it.
        unit: what is counted, in the plural.
        prepare: (device, precision, batch, compiled, quick) gives a function that works on a batch once.
    """

    name: str
    unit: str
    prepare: Callable[[torch.device, str, int, bool, bool], Callable[[], Run]]


def phantom(shape: tuple[int, int, int]) -> np.ndarray:
    """Nested ellipsoids with a fine texture, in [0, 1]."""
    grid = np.meshgrid(
        *(np.linspace(-reach, reach, n + 2)[1:-1] for reach, n in zip((1, 1, 0.3), shape)), indexing="ij"
    )
    radius = [
        np.sqrt((grid[0] / a) ** 2 + (grid[1] / b) ** 2 + (grid[2] / 0.95) ** 2)
        for a, b in ((0.7, 0.85), (0.6, 0.75), (0.2, 0.3))
    ]
    image = 0.9 * (radius[0] < 1) - 0.4 * (radius[1] < 1) + 0.3 * (radius[2] < 1)
    return (image * (1 + 0.1 * np.sin(40 * grid[0]) * np.sin(40 * grid[1]))).astype(np.float32)


def mri(device: torch.device, precision: str, batch: int, compiled: bool, quick: bool) -> Callable[[], Run]:
    """Posterior samples of MRI slices, 8 coils, 4x random lines: 256 x 256 by defaults (quick: 64 x 64, 3 steps, 1 sample)."""
    side = 64 if quick else 256
    settings = DiffusionSettings(precision=precision)
    settings = replace(settings, steps=3, samples=1) if quick else settings
    prior, error = _prior(device)
    flops = _flops(prior, side, device)
    if compiled:
        prior = prior.replace_network(torch.compile(prior.network))  # type: ignore[arg-type]
    kspace = simulate(phantom((side, side, batch)), np.eye(4), coils=8, acceleration=4, slice_axis=2, seed=0)
    data = torch.from_numpy(kspace.data).to(device)[:, None]
    maps = torch.from_numpy(kspace.true_sensitivities).to(device)[:, None, None]
    assert kspace.mask is not None
    mask = torch.from_numpy(kspace.mask).to(device)

    def run() -> Run:
        _wait(device)
        start = time.perf_counter()
        operator, y = encode(data, maps, mask)
        made = posterior_samples(operator, y, prior, error, 0.005, settings, range(batch))
        assert made.evaluations == batch * settings.samples * settings.steps, "the chain did not take its steps"
        made.images.mean(1).cpu()
        return Run(time.perf_counter() - start, made.network_seconds, flops * made.evaluations)

    return run


PIPELINES = (Pipeline("mri reconstruct", "slices", mri),)


def _prior(device: torch.device) -> tuple[NetworkDenoiser, Callable[[float], float]]:
    try:
        prior, card = load_prior(find_model(None, "mri").folder, device)
        return prior, error_curve(card["denoising_rmse"])
    except ModelError:
        torch.manual_seed(0)
        prior = build({"channels": (48, 56, 64, 56), "blocks": 2, "patch": 2, "attention": ()}, 0.3)
        prior = prior.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return prior, error_curve({"0.01": 0.008, "1.0": 0.1})


def _flops(prior: NetworkDenoiser, side: int, device: torch.device) -> float:
    """Floating-point operations of one image through the network (a multiplication and an addition count two)."""
    network: nn.Module = prior.network
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 2, side, side, device=device), torch.zeros(1, device=device))
    return float(counter.get_total_flops())


def matmul_peak(device: torch.device, quick: bool) -> float:
    """Operations a second of a large bfloat16 matrix product, the best of some runs: what the device can reach."""
    size = 512 if quick else (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(3 if quick else 20):
        _wait(device)
        start = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(pipeline: Pipeline, device: torch.device, peak: float, quick: bool) -> Iterator[dict[str, object]]:
    """One row for each precision, batch, compiled or not."""
    gpu = device.type == "cuda"
    precisions = ("fp32", "bf16", "fp16") if gpu else ("fp32", "bf16")
    batches = (1, 2) if quick else ((1, 4, 8, 16) if gpu else (1, 2))
    for precision in precisions:
        # The CPU's compiler is not part of an installation.
        for compiled in (False, True) if gpu else (False,):
            for batch in batches:
                row: dict[str, object] = {
                    "pipeline": pipeline.name, "precision": precision, "compiled": compiled, "batch": batch,
                }  # fmt: skip
                try:
                    yield row | _measured(pipeline, device, precision, batch, compiled, quick, peak)
                except torch.cuda.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    yield row | {"failed": "out of memory"}


def _measured(
    pipeline: Pipeline, device: torch.device, precision: str, batch: int, compiled: bool, quick: bool, peak: float
) -> dict[str, object]:
    run = pipeline.prepare(device, precision, batch, compiled, quick)
    start = time.perf_counter()
    run()  # compiles, chooses kernels, fills caches
    first = time.perf_counter() - start
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        runtime.reset_peak_memory()
    runs = [run() for _ in range(1 if quick else 5)]
    best = min(runs, key=lambda one: one.seconds)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else runtime.peak_memory()
    return {
        "unit": pipeline.unit,
        "per_second": batch / best.seconds,
        "seconds": best.seconds,
        "seconds_median": statistics.median(one.seconds for one in runs),
        "seconds_first": first,
        "network_share": best.network_seconds / best.seconds,
        "tflops": best.flops / best.seconds / 1e12,
        "roofline": best.flops / best.network_seconds / peak,
        "roofline_whole": best.flops / best.seconds / peak,
        "peak_memory_bytes": memory,
    }


def line(row: dict[str, object]) -> str:
    start = f"{row['pipeline']!s:18}{row['precision']!s:>6}{'compiled' if row['compiled'] else '':>10}{row['batch']:>6}"
    if "failed" in row:
        return f"{start}  {row['failed']}"
    return start + (
        f"{row['per_second']:>12.3f}{100 * row['network_share']:>9.1f}{100 * row['roofline']:>10.1f}"  # type: ignore[operator]
        f"{100 * row['roofline_whole']:>9.1f}{row['peak_memory_bytes'] / 1e9:>9.2f}"  # type: ignore[operator]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="small images and few steps: that it runs, not how fast")
    parser.add_argument(
        "--json", metavar="FILE", help=f"write the rows there ({RESULTS.relative_to(RESULTS.parents[2])} is kept)"
    )
    arguments = parser.parse_args()
    device = runtime.choose_device(arguments.device)
    if device.type == "cpu" and arguments.device == "auto":
        print("skipped: no GPU is here (--device cpu measures the processor)")
        return 0
    peak = matmul_peak(device, arguments.quick)
    print(f"{device}: {peak / 1e12:.2f} TFLOP/s in a bfloat16 matrix product")
    print(f"{'':40}{'per second':>12}{'network %':>10}{'roofline %':>11}{'whole %':>8}{'GB':>8}", flush=True)
    rows = []
    for pipeline in PIPELINES:
        for row in measure(pipeline, device, peak, arguments.quick):
            print(line(row), flush=True)
            rows.append(row)
    if arguments.json:
        file = Path(arguments.json)
        file.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "machine": facts(str(device)), "matmul_bf16_flops": peak, "quick": arguments.quick,
            "tf32": torch.backends.cuda.matmul.allow_tf32, "tf32_convolutions": torch.backends.cudnn.allow_tf32,
            "results": rows,
        }  # fmt: skip
        file.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

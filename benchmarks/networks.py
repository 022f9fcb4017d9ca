"""The U-Net beside MONAI's `DiffusionModelUNet` at equal parameters: seconds of a forward pass and of a training step.

    python benchmarks/networks.py [--quick] [--device cuda] [--json benchmarks/results/networks.json]

Three networks of two channels in and out, with fresh weights: MONAI's, ours at the same resolution and with attention at
the same level (`pixels`), and ours as the shipped MRI prior has it, which folds blocks of 2x2 pixels into channels first
(`patches`). The parameters of ours are within 5 % of MONAI's. All are in channels-last memory; bfloat16 is autocast. A
training step is forward, backward and AdamW. The calls of the networks take turns, and the least of the repetitions
counts: CPU seconds of the process where it runs on the CPU (so that a machine with other work still compares fairly,
with OMP_NUM_THREADS=1 above all), wall seconds on a GPU. `ratio` is MONAI's time over ours: above 1 ours is faster.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import facts
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ornstein.core.networks.unet import UNet
from ornstein.core.precision import autocast

RESULTS = Path(__file__).resolve().parent / "results" / "networks.json"
PRECISIONS = ("fp32", "bf16")
PEER = "monai"


def networks() -> dict[str, tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]]:
    """By name the network and how it is called."""
    from monai.networks.nets import DiffusionModelUNet

    monai = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=2,
        out_channels=2,
        num_res_blocks=2,
        channels=(48, 56, 56, 56),
        attention_levels=(False, False, False, False),  # its middle has attention in any case
        norm_num_groups=8,
        num_head_channels=8,
        include_fc=False,
        use_flash_attention=False,
    )
    pixels = UNet(2, 2, 2, (48, 56, 64, 56), attention=(3,), heads=7)
    patches = UNet(2, 2, 2, (48, 56, 64, 56), patch=2)
    return {
        PEER: (monai, lambda network, x: network(x, torch.full((len(x),), 500.0, device=x.device))),
        "pixels": (pixels, lambda network, x: network(x, torch.zeros(len(x), device=x.device))),
        "patches": (patches, lambda network, x: network(x, torch.zeros(len(x), device=x.device))),
    }


def forward(network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """One pass without gradients."""

    @torch.no_grad()
    def run() -> None:
        call(network, x)

    return run


def training_step(network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """Forward, backward and the optimiser."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def run() -> None:
        loss = (call(network, x).float() - x).square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return run


def seconds(run: Callable[[], None], device: torch.device, precision: str) -> float:
    """Of one call: CPU seconds on the CPU, wall seconds on a GPU that is waited for."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    with autocast(device, precision):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def measure(device: torch.device, shapes: list[tuple[int, int]], repetitions: int) -> dict[str, Any]:
    """Parameters, operations and times of all networks."""
    candidates = networks()
    sizes = {name: sum(p.numel() for p in network.parameters()) for name, (network, _) in candidates.items()}
    for name, size in sizes.items():
        assert abs(size / sizes[PEER] - 1) < 0.05, f"{name} has {size:,} parameters, {PEER} {sizes[PEER]:,}"
    for network, _ in candidates.values():
        network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = []
    for batch, side in shapes:
        x = torch.randn(batch, 2, side, side, device=device).to(memory_format=torch.channels_last)
        operations = {}
        for name, (network, call) in candidates.items():
            with FlopCounterMode(display=False) as counter:
                forward(network, call, x[:1])()
            operations[name] = batch * counter.get_total_flops()
        for mode, make in (("forward", forward), ("training", training_step)):
            for precision in PRECISIONS:
                runs = {name: make(network, call, x) for name, (network, call) in candidates.items()}
                times: dict[str, list[float]] = {name: [] for name in runs}
                for turn in range(repetitions + 1):
                    for name, run in runs.items():
                        spent = seconds(run, device, precision)
                        if turn > 0:  # the first is not counted
                            times[name].append(spent)
                best = {name: min(values) for name, values in times.items()}
                rows.append(
                    {"mode": mode, "batch": batch, "side": side, "precision": precision, "seconds": best,
                     "ratio": {name: best[PEER] / best[name] for name in best if name != PEER},
                     "forward_gflop": {name: round(flops / 1e9, 2) for name, flops in operations.items()}}
                )  # fmt: skip
                print(line(rows[-1]), flush=True)
    return {"parameters": sizes, "rows": rows}


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    names = (PEER, "pixels", "patches")
    times = "".join(f"{row['seconds'][name]:>10.3f}" for name in names)
    ratios = "".join(f"{row['ratio'][name]:>9.2f}" for name in names[1:])
    return f"{row['mode']:<9}{row['batch']:>3} x {row['side']}^2  {row['precision']:<5}{times}  {ratios}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape, one repetition")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"also write the numbers there, {RESULTS.name} say")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.manual_seed(0)
    device = torch.device(options.device)
    shapes = [(2, 64)] if options.quick else [(4, 256), (16, 128)]
    print(
        f"{'':<9}{'batch':>5} {'':<7}{'':<5}{PEER + ' s':>10}{'pixels s':>10}{'patches s':>10}  {'ratio':>9}{'ratio':>9}"
    )
    found = measure(device, shapes, repetitions=1 if options.quick else 3)
    print("parameters " + ", ".join(f"{name} {size:,}" for name, size in found["parameters"].items()))
    if options.json:
        clock = "CPU seconds of the process" if device.type == "cpu" else "wall seconds"
        note = f"{clock}; the machine was shared with other work" if device.type == "cpu" else clock
        result = {"benchmark": "networks", "machine": facts(options.device), "note": note, **found}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

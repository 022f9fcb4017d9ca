"""Whether the intervals of MRI samples hold the truth as often as they claim, on heads that nothing was trained on.

    python benchmarks/mri_coverage.py [--samples N] [--accelerations A ...] [--json benchmarks/results/mri_coverage.json]

The heads are slices of T1w slabs and of AOMIC's sub-0001, in 8 coils, random lines, by the defaults but for the number of samples.
Inside the head, of magnitudes: the share of the truth within the central 90 % interval, its mean width and the
root-mean-square error of the mean, both in units of the head's 99th percentile. The truth is itself a measured image: `noise`
adds to every sample the receiver's noise as the simulation states it, of each value of the image, and counts again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from machine import Clock, facts
from mri import volumes

from ornstein.core.calibration import coverage
from ornstein.datasets.kspace_simulation import choose_axes, simulate_scan
from ornstein.domains.mri.measures import head_of
from ornstein.domains.mri.reconstruction import reconstruct_slices, survey
from ornstein.pipelines.models import find_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--accelerations", type=float, nargs="+", default=[4, 8])
    parser.add_argument("--heads", nargs="+", default=["slab 0", "slab 3", "AOMIC"])
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    folder = find_model(None, "mri").folder
    rows = []
    for number, (name, volume, affine, slices) in enumerate(volumes(quick=False)):
        if name not in arguments.heads:
            continue
        order = choose_axes(affine)
        truth, inside = volume.transpose(order), head_of(volume).transpose(order)
        for acceleration in arguments.accelerations:
            scan = simulate_scan(volume, affine, coils=8, acceleration=acceleration, pattern="random", seed=number)
            for n in slices[:2]:
                kspace = scan.read(slice(n, n + 1))
                seen, clock = survey(kspace, model=folder), Clock()
                made = reconstruct_slices(kspace, seen, model=folder, items=[n], samples=arguments.samples)
                images = torch.from_numpy(np.abs(made.images[:, 0]))[None]
                generator = torch.Generator().manual_seed(n)
                noisy = (
                    made.images[:, 0]
                    + seen.noise
                    * torch.view_as_complex(torch.randn(*made.images[:, 0].shape, 2, generator=generator)).numpy()
                )
                head = torch.from_numpy(inside[n].copy())[None]
                here = torch.from_numpy(truth[n].copy())[None]
                scale = float(np.percentile(truth[n][inside[n]], 99))
                found = {
                    kind: coverage(x, here, mask=head)
                    for kind, x in (("samples", images), ("noise", torch.from_numpy(np.abs(noisy))[None]))
                }
                row = {"head": name, "slice": n, "acceleration": acceleration, "cpu_seconds": clock.read()[1]}
                for kind, one in found.items():
                    row |= {f"{kind}_coverage90": one.share, f"{kind}_width": one.width / scale}
                row["rmse"] = found["samples"].rmse / scale
                rows.append(row)
                print(json.dumps(row), flush=True)
    for acceleration in arguments.accelerations:
        some = [row for row in rows if row["acceleration"] == acceleration]
        mean = {key: float(np.mean([row[key] for row in some])) for key in some[0] if key not in ("head", "slice")}
        print("mean", json.dumps(mean))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"machine": facts(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

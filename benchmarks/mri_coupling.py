"""Slices of a head by themselves and coupled along z: PSNR, error of the gradient through the plane, and time.

    python benchmarks/mri_coupling.py [--slices A:B] [--samples N] [--steps N] [--difference D ...] [--device cuda] [--json FILE]

The head is AOMIC's sub-0001, which nothing was trained on, in 8 coils at 4x and 8x with random lines. Measures are taken of
the posterior means inside the head: PSNR as `ornstein evaluate mri` has it, and the root-mean-square error of the difference
between neighbouring slices, over the head's scale. `difference` is that of `CoupledPosterior`; infinite is no coupling.
"""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from machine import Clock

from ornstein.datasets.kspace_simulation import choose_axes, simulate_scan
from ornstein.domains.mri import reconstruction
from ornstein.domains.mri.measures import head_of, measure
from ornstein.pipelines.models import find_model

HEAD = (
    Path(__file__).resolve().parents[2]
    / "shared"
    / "data"
    / "medical"
    / "mri"
    / "aomic_sub-0001_desc-conform_T1w.nii.gz"
)


def through_plane(image: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """Root-mean-square error of the difference between neighbouring slices, (slices, readout, phase), inside the head."""
    both = inside[1:] & inside[:-1]
    left = np.diff(image - truth, axis=0)[both]
    return float(np.sqrt(np.mean(left**2)) / np.percentile(truth[inside], 99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", default="100:108", help="A:B, from the top")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--accelerations", type=float, nargs="+", default=[4, 8])
    parser.add_argument("--difference", type=float, nargs="+", default=[reconstruction.THROUGH_PLANE])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.slices.split(":"))
    image = nib.load(HEAD)
    volume = np.asarray(image.dataobj, np.float32)
    order, chosen = choose_axes(image.affine), slice(first, last)
    truth, inside = volume.transpose(order)[chosen], head_of(volume).transpose(order)[chosen]
    folder = find_model(None, "mri").folder
    rows = []
    for acceleration in arguments.accelerations:
        scan = simulate_scan(volume, image.affine, coils=8, acceleration=acceleration, pattern="random", seed=0)
        parts = [scan.read(slice(n, n + 1)) for n in range(first, last)]
        kspace = replace(parts[0], data=np.concatenate([part.data for part in parts]))
        seen = reconstruction.survey(kspace, model=folder)
        settings = {"model": folder, "samples": arguments.samples, "steps": arguments.steps, "device": arguments.device}
        for difference in [math.inf, *arguments.difference]:
            clock, made = Clock(), []
            if math.isinf(difference):
                for n in range(last - first):
                    alone = replace(kspace, data=kspace.data[n : n + 1])
                    made.append(reconstruction.reconstruct_slices(alone, seen, items=[first + n], **settings).images)
            else:
                reconstruction.THROUGH_PLANE = difference
                numbers = list(range(first, last))
                made.append(
                    reconstruction.reconstruct_slices(kspace, seen, items=numbers, coupling="tv", **settings).images
                )
            wall, cpu = clock.read()
            found = np.abs(np.concatenate(made, axis=1).mean(0))
            row = {
                "acceleration": acceleration, "difference": difference,
                "psnr": measure(found, truth, mask=inside, slice_axis=0)["psnr_head"],
                "through_plane": through_plane(found, truth, inside), "seconds": wall, "cpu_seconds": cpu,
            }  # fmt: skip
            rows.append(row)
            print(json.dumps(row), flush=True)
            if torch.device(arguments.device).type == "cuda":
                torch.cuda.empty_cache()
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Measured k-space: one fully sampled slice, one undersampled slice without a reference, and the coils' maps.

All methods get the same maps, estimated without the samples that are hidden; sigpy also runs with its own. sigpy's weights
are the best of a list, chosen by the very errors that are reported.
"""

import argparse
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from machine import Clock
from mri_peers import bart, sigpy_wavelet
from torch import Tensor

from ornstein.core.inverse.posterior import error_curve
from ornstein.datasets.kspace import KSpace
from ornstein.datasets.sampling import line_mask
from ornstein.domains.mri.classical import cg_sense, total_variation
from ornstein.domains.mri.diffusion import DiffusionSettings, posterior_samples
from ornstein.domains.mri.measures import measure
from ornstein.domains.mri.operator import MultiCoil, encode, ifft
from ornstein.domains.mri.prior import load_prior
from ornstein.domains.mri.reconstruction import Survey, survey
from ornstein.domains.mri.sensitivities import calibration_region, estimate_sensitivities
from ornstein.pipelines.models import find_model

WEIGHTS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
HIDDEN = 0.1
Row = dict[str, object]
Images = Callable[[Tensor, Tensor, Tensor, Survey], Tensor]


def measured(
    arguments: argparse.Namespace, folder: Path, log: Callable[[str], None]
) -> Iterator[tuple[str, list[Row]]]:
    """The three comparisons, each by its name and rows."""
    model = find_model(arguments.model, "mri").folder
    with h5py.File(folder / "lustig_brain_8coil_full_320x168.h5") as file:
        full, reference = torch.from_numpy(file["kspace"][:]), file["reconstruction_rss"][0]
    poisson = torch.from_numpy(np.load(folder / "sigpy_tutorial_brain_8coil_poisson.npy", allow_pickle=False))[None]
    draws = (1, 1) if arguments.quick else (5, 10)
    yield "maps", list(maps_compared(full, poisson))
    yield "retrospective", list(retrospective(full, reference, model, draws[0], log))
    yield "hidden_samples", list(hidden(poisson, model, draws[1], log))


def text(name: str, rows: list[Row]) -> str:
    """A table of rows; the columns are their fields."""
    fields = [field for field in rows[0] if field != "machine"]
    lines = [name, "".join(f"{field:<36}" if field == "method" else f"{field:>17}" for field in fields)]
    for row in rows:
        cells = (row[field] for field in fields)
        lines.append("".join(f"{cell:>17.4g}" if isinstance(cell, (int, float)) else f"{cell!s:<36}" for cell in cells))
    return "\n".join(lines)


def methods(model: Path) -> dict[str, Images]:
    """Ours and sigpy's at each weight, by name: (data (1, coils, ...), mask, maps, survey) to complex images (sets, readout, phase)."""
    prior, card = load_prior(model)
    error = error_curve(card["denoising_rmse"])

    def diffusion(data: Tensor, mask: Tensor, maps: Tensor, seen: Survey) -> Tensor:
        operator, y = encode(data[:, None] / seen.scale, maps[:, None], mask)
        settings = DiffusionSettings(misfit=seen.misfit)
        made = posterior_samples(operator, y, prior, error, seen.noise / seen.scale, settings, [0])
        return made.images[0].mean(0) * seen.scale

    found: dict[str, Images] = {
        "ornstein sense": lambda data, mask, maps, seen: cg_sense(data, maps, mask)[0],
        "ornstein tv": lambda data, mask, maps, seen: total_variation(data, maps, mask, scale=seen.scale)[0],
        "ornstein diffusion": diffusion,
    }
    if importlib.util.find_spec("sigpy"):
        found |= {f"sigpy L1-wavelet {weight:g}": partial(wavelet, weight) for weight in WEIGHTS}
    return found


def wavelet(weight: float, data: Tensor, mask: Tensor, maps: Tensor, seen: Survey) -> Tensor:
    """sigpy's L1-wavelet image."""
    grid = np.broadcast_to(mask.numpy(), data.shape[-2:])
    made = sigpy_wavelet((data[0] / seen.scale).numpy().astype(np.complex64), grid, maps[0].numpy(), weight)
    return torch.from_numpy(np.ascontiguousarray(made)) * seen.scale


def prepared(data: Tensor, mask: Tensor, model: Path, sets: int | None = None) -> tuple[Tensor, Survey]:
    """Maps and survey from these data alone; the number of sets as asked for, or as the survey finds it."""
    seen = survey(KSpace(data.numpy(), mask.numpy()), model=model)
    return estimate_sensitivities(data, mask, sets=sets or seen.sets), seen


def own_maps(data: Tensor) -> Tensor:
    """sigpy's ESPIRiT maps, (1, 1, coils, readout, phase)."""
    import sigpy.mri

    return torch.from_numpy(np.asarray(sigpy.mri.app.EspiritCalib(data[0].numpy(), show_pbar=False).run()))[None, None]


def retrospective(
    full: Tensor, reference: np.ndarray, model: Path, draws: int, log: Callable[[str], None]
) -> Iterator[Row]:
    """The fully sampled slice with 4x random lines, centre .08, two sets of maps, against its own full reference."""
    made: dict[str, list[dict[str, float]]] = {}
    for draw in range(draws):
        mask = torch.from_numpy(line_mask(full.shape[-1], 4, "random", np.random.default_rng(draw), 0.08))
        data = full * mask
        maps, seen = prepared(data, mask, model, sets=2)
        for name, run in methods(model).items():
            clock = Clock()
            images = run(data, mask, maps, seen)
            cost = clock.read()[1]
            magnitude = images.abs().square().sum(0).sqrt().numpy()
            made.setdefault(name, []).append({**measure(magnitude, reference), "seconds_cpu": cost})
        log(f"fully sampled slice: mask {draw + 1} of {draws}")
    yield from summary(made, ("psnr_head", "psnr", "ssim", "nrmse"), "psnr_head", max)


def summary(
    made: dict[str, list[dict[str, float]]], shown: tuple[str, ...], by: str, better: Callable[..., str]
) -> Iterator[Row]:
    """Means over draws; of one method at several weights (the last word of its name) the best mean only."""
    families: dict[str, list[str]] = {}
    for name in made:
        stem, _, last = name.rpartition(" ")
        families.setdefault(stem if last[0].isdigit() else name, []).append(name)
    mean = {name: {k: float(np.mean([row[k] for row in rows])) for k in rows[0]} for name, rows in made.items()}
    for names in families.values():
        name = better(names, key=lambda name: mean[name][by])
        rows = made[name]
        row: Row = {"method": name, "draws": len(rows), **{k: mean[name][k] for k in shown}}
        row |= {"lowest": min(r[by] for r in rows), "highest": max(r[by] for r in rows)}
        yield row | {"seconds_cpu": mean[name]["seconds_cpu"]}


def hidden(kspace: Tensor, model: Path, draws: int, log: Callable[[str], None]) -> Iterator[Row]:
    """A tenth of the samples outside the calibration region is hidden and predicted, in root mean square over the noise.

    1 is the floor: the hidden samples are noisy themselves. Images are linear predictions, so that of diffusion the mean
    of its samples counts.
    """
    mask = kspace[0].abs().amax(0) > 0
    outside = mask.clone()
    outside[calibration_region(mask)] = False
    places = outside.nonzero()
    made: dict[str, list[dict[str, float]]] = {}
    for draw in range(draws):
        some = places[np.random.default_rng(draw).permutation(len(places))[: round(HIDDEN * len(places))]]
        left = mask.clone()
        left[some[:, 0], some[:, 1]] = False
        away = mask & ~left
        data = kspace * left
        maps, seen = prepared(data, left, model)
        runs = [(name, run, maps) for name, run in methods(model).items()]
        if importlib.util.find_spec("sigpy"):
            own = own_maps(data)
            runs += [(f"sigpy, its own maps {weight:g}", partial(wavelet, weight), own) for weight in WEIGHTS]
        for name, run, these in runs:
            clock = Clock()
            images = run(data, left, these, seen)
            cost = clock.read()[1]
            wrong = MultiCoil(these, away).forward(images[None]) - kspace * away
            error = float(wrong.abs().square().sum().div(2 * away.sum() * kspace.shape[1]).sqrt()) / seen.noise
            made.setdefault(name, []).append({"error_over_noise": error, "seconds_cpu": cost})
        log(
            f"hidden samples: draw {draw + 1} of {draws}, {len(some)} of {int(mask.sum())}, {maps.shape[1]} sets of maps"
        )
    yield from summary(made, ("error_over_noise",), "error_over_noise", min)


def maps_compared(full: Tensor, poisson: Tensor) -> Iterator[Row]:
    """Seconds of one set of maps, and what they leave of the coil images, |(I - S S^H) x| / |x|.

    x is the fully sampled slice, and the low-resolution image of the calibration region where no more is known. Maps are
    zero outside what each takes for the object; `inside` counts only where all maps are not zero.
    """
    region = torch.zeros_like(poisson[0, 0].real)
    region[calibration_region(poisson[0].abs().amax(0) > 0)] = 1
    for name, kspace, calibrated in (("full", full, full), ("poisson", poisson, poisson * region)):
        x = ifft(calibrated)[0]
        found = dict(_maps_of(kspace))
        common = torch.stack([(maps != 0).any((0, 1)) for maps, _ in found.values()]).all(0)
        for library, (maps, (wall, cpu)) in found.items():
            left = x - torch.einsum("scxy,sxy->cxy", maps, torch.einsum("scxy,cxy->sxy", maps.conj(), x))
            yield {
                "method": f"{library} ({name})", "sets": len(maps),
                "seconds_cpu": cpu, "seconds_wall": wall, "left": float(left.norm() / x.norm()),
                "left_inside": float((left * common).norm() / (x * common).norm()),
                "covered": float((maps != 0).any(0).any(0).float().mean()),
            }  # fmt: skip


def _maps_of(kspace: Tensor) -> Iterator[tuple[str, tuple[Tensor, tuple[float, float]]]]:
    """Library to its maps (sets, coils, readout, phase) and seconds (wall, cpu); the second of two runs is timed."""
    mask = kspace[0].abs().amax(0) > 0
    for sets in (1, 2):
        estimate_sensitivities(kspace, mask, sets=sets)
        clock = Clock()
        yield f"ornstein, {sets} sets", (estimate_sensitivities(kspace, mask, sets=sets)[0], clock.read())
    if importlib.util.find_spec("sigpy"):
        own_maps(kspace)
        clock = Clock()
        yield "sigpy", (own_maps(kspace)[0], clock.read())
    if shutil.which("bart"):
        inputs = {"kspace": kspace[0].numpy().transpose(1, 2, 0)[:, :, None]}
        for sets in (1, 2):
            for crop in ((), ("-c", "0")):
                clock = Clock()
                maps = bart("ecalib", "-m", str(sets), *crop, "kspace", "maps", inputs=inputs, output="maps")
                cost = clock.read()
                maps = maps.reshape(*maps.shape[:2], maps.shape[3], -1).transpose(3, 2, 0, 1)
                yield (
                    f"BART{' uncropped' if crop else ''}, {sets} sets",
                    (torch.from_numpy(np.ascontiguousarray(maps)), cost),
                )

"""MRI reconstruction beside its peers, on heads that nothing was trained on, and on measured k-space.

    python benchmarks/mri.py [--quick] [--method NAME ...] [--json FILE]          simulated k-space
    python benchmarks/mri.py --real [--json FILE]                                 measured k-space
    python benchmarks/mri.py --train-unrolled MINUTES                             the supervised network, kept in runs/

The heads are five T1w slabs and AOMIC's sub-0001, in 8 coils, at 4x and 8x, random and equispaced lines. All methods get
the same data and the same maps, estimated from these data; their seconds do not count the maps. The weights of the peers'
regularisers are the best of a list, chosen by PSNR in the head on the slices that are scored, which favours the peers; all
of ours are the defaults. Measures are those of `ornstein evaluate mri`. The peers that are not installed are left out.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from machine import Clock, facts
from mri_peers import Peer, available
from mri_unrolled import Unrolled, load_unrolled, train_unrolled, training_heads

from ornstein.core.errors import ModelError
from ornstein.datasets.kspace import KSpace
from ornstein.datasets.kspace_simulation import choose_axes, simulate_scan
from ornstein.domains.mri.measures import head_of, measure
from ornstein.domains.mri.operator import encode
from ornstein.domains.mri.reconstruction import Survey, reconstruct_slices, survey
from ornstein.domains.mri.sensitivities import estimate_sensitivities
from ornstein.pipelines.models import find_model

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "medical"
RUNS = ROOT / "runs" / "mri-unrolled"
SETTINGS = tuple((a, p) for a in (4, 8) for p in ("random", "equispaced"))
SLABS, SLAB_SLICES, HEAD_SLICES = range(5), (6,), (90, 110, 130)  # of AOMIC, from the top
NOTE = "The machine did other work at the same time: compare CPU seconds (one thread), not wall seconds."
OURS = ("zero-filled", "sense", "tv", "diffusion")


@dataclass(frozen=True, eq=False)
class Head:
    """Some slices of a head, measured in one way.

    Args:
        name: of the head.
        acceleration, pattern: of the measurement.
        kspace: of the slices, with the estimated maps as `sensitivities`.
        seen: what the slices tell of scale and noise.
        truth: (slices, readout, phase).
        inside: bool like `truth`, the head.
    """

    name: str
    acceleration: int
    pattern: str
    kspace: KSpace
    seen: Survey
    truth: np.ndarray
    inside: np.ndarray

    def arrays(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slice n for the peers: k-space of unit scale, mask (readout, phase), maps (sets, coils, readout, phase)."""
        assert self.kspace.mask is not None and self.kspace.sensitivities is not None
        data = (self.kspace.data[n] / self.seen.scale).astype(np.complex64)
        return data, np.broadcast_to(self.kspace.mask, self.kspace.shape), self.kspace.sensitivities[n]


def volumes(quick: bool) -> Iterator[tuple[str, np.ndarray, np.ndarray, tuple[int, ...]]]:
    """Name, volume, affine and chosen slices of the heads that no one trained on."""
    with np.load(DATA / "mri" / "ants_jlf_t1_slabs.npz") as file:
        for n in list(SLABS)[: 1 if quick else None]:
            yield f"slab {n}", file["image_u10"][n].astype(np.float32), file["affine"], SLAB_SLICES
    image = nib.load(DATA / "mri" / "aomic_sub-0001_desc-conform_T1w.nii.gz")
    yield "AOMIC", np.asarray(image.dataobj, np.float32), image.affine, HEAD_SLICES[: 1 if quick else None]


def heads(quick: bool, model: Path | None) -> list[Head]:
    made = []
    for number, (name, volume, affine, slices) in enumerate(volumes(quick)):
        order = choose_axes(affine)
        truth, inside = volume.transpose(order)[list(slices)], head_of(volume).transpose(order)[list(slices)]
        for acceleration, pattern in SETTINGS:
            scan = simulate_scan(volume, affine, coils=8, acceleration=acceleration, pattern=pattern, seed=number)
            parts = [scan.read(slice(n, n + 1)) for n in slices]
            kspace = replace(parts[0], data=np.concatenate([part.data for part in parts]))
            assert kspace.mask is not None
            maps = estimate_sensitivities(torch.from_numpy(kspace.data), torch.from_numpy(kspace.mask))
            kspace = replace(kspace, sensitivities=maps.numpy())
            made.append(Head(name, acceleration, pattern, kspace, survey(kspace, model=model), truth, inside))
    return made


def score(head: Head, images: np.ndarray) -> dict[str, float]:
    """The measures of magnitudes (slices, readout, phase)."""
    if len(images) == 1:
        return measure(images[0], head.truth[0], mask=head.inside[0])
    return measure(images, head.truth, mask=head.inside, slice_axis=0)


@dataclass(frozen=True)
class Timed:
    """Images of a head, and what they cost a slice."""

    images: np.ndarray
    wall: float
    cpu: float
    evaluations: float = 0


def timed(head: Head, slices: Callable[[int], tuple[np.ndarray, int]]) -> Timed:
    """Runs a function of the slice's number that gives a magnitude (readout, phase) and its network evaluations."""
    clock = Clock()
    made = [slices(n) for n in range(head.kspace.slices)]
    wall, cpu = clock.read()
    count = len(made)
    return Timed(np.stack([m for m, _ in made]), wall / count, cpu / count, sum(e for _, e in made) / count)


def ours(head: Head, method: str, folder: Path | None, samples: int) -> Timed:
    def one(n: int) -> tuple[np.ndarray, int]:
        part = replace(
            head.kspace,
            data=head.kspace.data[n : n + 1],
            sensitivities=head.kspace.sensitivities[n : n + 1],  # type: ignore[index]
        )
        made = reconstruct_slices(part, head.seen, method=method, model=folder, items=[n], samples=samples)  # type: ignore[arg-type]
        return np.abs(made.images.mean(0))[0], made.evaluations

    return timed(head, one)


def theirs(head: Head, peer: Peer, weight: float) -> Timed:
    def one(n: int) -> tuple[np.ndarray, int]:
        return np.linalg.norm(peer.run(*head.arrays(n), weight), axis=0) * head.seen.scale, 0

    return timed(head, one)


def supervised(head: Head, model: Unrolled) -> Timed:
    @torch.no_grad()
    def one(n: int) -> tuple[np.ndarray, int]:
        data, mask, maps = (torch.from_numpy(np.ascontiguousarray(array)) for array in head.arrays(n))
        operator, y = encode(data[None], maps[None], mask)
        x = model(operator, operator.adjoint(y))
        return x[0].abs().square().sum(0).sqrt().numpy() * head.seen.scale, model.steps

    return timed(head, one)


def rows_of(
    name: str, all_heads: list[Head], run: Callable[[Head], Timed], **more: object
) -> Iterator[dict[str, object]]:
    for head in all_heads:
        made = run(head)
        yield {
            "method": name, "head": head.name, "acceleration": head.acceleration, "pattern": head.pattern,
            **{k: v for k, v in score(head, made.images).items() if k in ("psnr_head", "ssim", "ssim_head", "psnr")},
            "seconds_wall": made.wall, "seconds_cpu": made.cpu, "evaluations": made.evaluations, **more,
        }  # fmt: skip


def best_weight(peer: Peer, some: list[Head]) -> tuple[list[dict[str, object]], float]:
    """The rows of the weight with the best mean PSNR in the head; the list is walked while it gets better."""
    best: tuple[float, list[dict[str, object]], float] | None = None
    ordered = sorted(peer.weights)
    tried: dict[float, float] = {}
    at = len(ordered) // 2
    while True:
        weight = ordered[at]
        if weight not in tried:
            rows = list(rows_of(peer.name, some, lambda head, w=weight: theirs(head, peer, w), weight=weight))
            tried[weight] = float(np.mean([row["psnr_head"] for row in rows]))  # type: ignore[arg-type]
            if best is None or tried[weight] > best[0]:
                best = tried[weight], rows, weight
        assert best is not None
        # PSNR has one maximum over the weight: look at the neighbours of the best until both are known.
        here = ordered.index(best[2])
        unknown = [i for i in (here - 1, here + 1) if 0 <= i < len(ordered) and ordered[i] not in tried]
        if not unknown:
            return best[1], best[2]
        at = unknown[0]


def simulated(arguments: argparse.Namespace, log: Callable[[str], None]) -> Iterator[list[dict[str, object]]]:
    """For each method one row for each head and setting."""
    wanted = arguments.method
    try:
        folder = find_model(arguments.model, "mri").folder
    except ModelError as error:
        log(f"ornstein diffusion is left out: {error}")
        folder = None
    all_heads = heads(arguments.quick, folder)

    def chosen(name: str) -> bool:
        return not wanted or any(word in name for word in wanted)

    for method in OURS:
        if not chosen(f"ornstein {method}") or (method == "diffusion" and folder is None):
            continue
        samples = 1 if arguments.quick else 4
        log(f"ornstein {method}")
        yield list(rows_of(f"ornstein {method}", all_heads, lambda h: ours(h, method, folder, samples)))  # noqa: B023
    if chosen("unrolled"):
        try:
            model, card = load_unrolled(RUNS)
            log(f"unrolled network, trained for {card['minutes']} minutes on {card['slices']} slices")
            yield list(rows_of("supervised unrolled", all_heads, lambda h: supervised(h, model), training=card))
        except ModelError as error:
            log(f"the supervised unrolled network is left out: {error}; make it by --train-unrolled MINUTES")
    peers, missing = available()
    for sentence in missing:
        log(sentence)
    for peer in peers:
        if not chosen(peer.name):
            continue
        rows: list[dict[str, object]] = []
        for setting in SETTINGS:
            some = [head for head in all_heads if (head.acceleration, head.pattern) == setting]
            found, weight = best_weight(peer, some)
            log(f"{peer.name} at {setting[0]}x {setting[1]}: weight {weight:g}")
            rows += found
        yield rows


def table(rows: list[dict[str, object]]) -> str:
    """Means over heads for each method and setting."""
    lines = [f"{'':24}" + "".join(f"{f'{a}x {p}':>22}" for a, p in SETTINGS) + f"{'CPU s':>9}{'wall s':>8}{'NFE':>6}"]
    lines.append(f"{'PSNR in the head / SSIM':24}" + f"{'dB':>14}{'':>8}" * len(SETTINGS) + f"{'a slice':>17}")
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        line = f"{name!s:24}"
        for setting in SETTINGS:
            here = [row for row in mine if (row["acceleration"], row["pattern"]) == setting]
            mean = {k: np.mean([row[k] for row in here]) for k in ("psnr_head", "ssim")}  # type: ignore[arg-type]
            line += f"{mean['psnr_head']:>14.2f}{mean['ssim']:>8.3f}"
        cost = [np.mean([row[k] for row in mine]) for k in ("seconds_cpu", "seconds_wall", "evaluations")]  # type: ignore[arg-type]
        lines.append(line + f"{cost[0]:>9.2f}{cost[1]:>8.2f}{cost[2]:>6.0f}")
    return "\n".join(lines)


def write(path: str | None, part: str, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Puts the rows of some methods in the place of their older ones in one part of a JSON file; all rows of the part.

    So a benchmark can be made in several runs; every row says with which machine, in `machines`.
    """
    if path is None:
        return rows
    file = Path(path)
    kept = json.loads(file.read_text()) if file.exists() else {"note": NOTE, "machines": []}
    machine = facts()
    if machine not in kept["machines"]:
        kept["machines"].append(machine)
    new = {row["method"] for row in rows}
    older = [row for row in kept.get(part, []) if row["method"] not in new]
    kept[part] = older + [{**row, "machine": kept["machines"].index(machine)} for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=1) + "\n")
    return kept[part]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two slices a setting, one sample")
    parser.add_argument("--method", nargs="+", metavar="NAME", help="only methods whose name contains one of these")
    parser.add_argument("--model", metavar="NAME", help="a model, or the folder of one; the shipped one otherwise")
    parser.add_argument("--real", action="store_true", help="measured k-space instead of simulated")
    parser.add_argument("--train-unrolled", type=float, metavar="MINUTES", help="train the supervised network and stop")
    parser.add_argument("--threads", type=int, default=2, help="of every method")
    parser.add_argument(
        "--json", metavar="FILE", help="write the rows there, in the place of older ones of the same methods"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    log = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    if not DATA.is_dir():
        print(f"skipped: the data in {DATA} are not there")
        return 0
    if arguments.train_unrolled:
        train_unrolled(RUNS, training_heads(DATA / "mri"), arguments.train_unrolled, log)
        return 0
    if arguments.real:
        from mri_real import measured, text

        for name, rows in measured(arguments, DATA / "kspace", log):
            print(f"{text(name, write(arguments.json, name, rows))}\n", flush=True)
        return 0
    rows = []
    for some in simulated(arguments, log):
        rows = write(arguments.json, "simulated", rows + some)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

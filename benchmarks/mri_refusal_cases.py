"""Volumes for mri_refusal.py: heads in many states, and what is no head, measured or made of solids in three dimensions.

The made ones share nothing with `ornstein.domains.mri.strangers`, which draws flat pictures: here are solids, with
textures, that are cut into slices along any axis.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.testing import data_path as nibabel_data
from scipy.ndimage import gaussian_filter, zoom

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "medical"

Volume = tuple[np.ndarray, np.ndarray]
"""Voxels (x, y, z) and affine."""


@dataclass(frozen=True, eq=False)
class Case:
    """A volume to judge.

    Args:
        name: of it.
        head: whether it is one, and must pass.
        make: its voxels (x, y, z) and affine.
        axes: the slice axes to try; None is the simulator's choice.
        slices: [first, last) of the slices that are asked for, as shares of all.
    """

    name: str
    head: bool
    make: Callable[[], Volume]
    axes: tuple[int | None, ...] = (None,)
    slices: tuple[float, float] = (0.0, 1.0)


def loaded(path: Path | str) -> Volume:
    image = nib.load(path)
    data = np.asarray(image.dataobj, np.float32)
    return (data[..., 0] if data.ndim == 4 else data), np.asarray(image.affine)


# Heads


def slab(number: int) -> Volume:
    with np.load(DATA / "mri" / "ants_jlf_t1_slabs.npz") as file:
        return file["image_u10"][number].astype(np.float32), file["affine"]


@cache
def aomic() -> Volume:
    return loaded(DATA / "mri" / "aomic_sub-0001_desc-conform_T1w.nii.gz")


def template() -> Volume:
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    return np.asarray(image.dataobj, np.float32), image.affine


def changed(change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> Callable[[], Volume]:
    """AOMIC's head after a change of its voxels; with another affine where one is given."""
    return lambda: (np.ascontiguousarray(change(aomic()[0])), aomic()[1] if affine is None else affine)


def labels() -> np.ndarray:
    return np.asarray(nib.load(DATA / "mri" / "aomic_sub-0001_desc-aseg_dseg.nii.gz").dataobj)


def stripped(head: np.ndarray) -> np.ndarray:
    return head * (labels() > 0)


def t2_like(head: np.ndarray) -> np.ndarray:
    """Fluid bright, white matter dark, air dark: the contrast turned round inside the head."""
    inside = gaussian_filter((head > 25).astype(np.float32), 1)
    made = inside * (190 - 0.8 * np.minimum(head, 160))
    made[np.isin(labels(), (4, 5, 14, 15, 24, 43, 44))] = 255  # ventricles, fluid
    return made


def flair_like(head: np.ndarray) -> np.ndarray:
    """White matter a little darker than grey, fluid dark, fat bright."""
    return np.interp(head, (0, 25, 60, 90, 120, 160, 255), (0, 15, 70, 150, 120, 150, 220)).astype(np.float32)


def defaced(head: np.ndarray) -> np.ndarray:
    """Nothing in front of and below a plane, as defacing leaves it. The array's axes are (left, inferior, anterior)."""
    i, a = np.meshgrid(np.arange(head.shape[1]), np.arange(head.shape[2]), indexing="ij")
    return head * ~((a > 160) & (i > 185 - 0.6 * (a - 160)))[None]


def shaded(head: np.ndarray) -> np.ndarray:
    """As a surface coil sees it."""
    i, a = np.mgrid[0 : 1 : head.shape[1] * 1j, 0 : 1 : head.shape[2] * 1j]
    return head * np.exp(-((i - 0.3) ** 2 + (a - 0.1) ** 2) / 0.35).astype(np.float32)


def noisy(head: np.ndarray) -> np.ndarray:
    draw = np.random.default_rng(5)
    return np.hypot(head + 12 * draw.standard_normal(head.shape), 12 * draw.standard_normal(head.shape)).astype("f4")


PLAIN = np.eye(4)
ANISOTROPIC = np.diag([1.0, 1.0, 4.0, 1.0])


def heads() -> Iterator[Case]:
    for n in range(5):
        yield Case(f"slab {n}", True, lambda n=n: slab(n))
    every = (0, 1, 2)
    yield Case("AOMIC", True, aomic, every)
    yield Case("MNI152, nilearn", True, template, every)
    yield Case("eun (trained on)", True, lambda: loaded(DATA / "mri" / "fnndsc_eun_T1w.nii.gz"), every)
    yield Case("voxelmorph (trained on)", True, lambda: loaded(DATA / "mri" / "voxelmorph_test_scan_T1w.nii.gz"), every)
    # Slices along axis 1 run from the top of the head downwards.
    yield Case("AOMIC, top: scalp alone", True, aomic, slices=(0.24, 0.31))
    yield Case("AOMIC, upper brain", True, aomic, slices=(0.33, 0.45))
    yield Case("AOMIC, base of the skull", True, aomic, slices=(0.65, 0.75))
    yield Case("AOMIC, bottom: jaw and neck", True, aomic, slices=(0.8, 0.92))
    yield Case("AOMIC, ear", True, aomic, (0,), (0.2, 0.27))
    yield Case("AOMIC, back", True, aomic, (2,), (0.13, 0.2))
    yield Case("AOMIC, nose", True, aomic, (2,), (0.78, 0.88))
    yield Case("AOMIC, one slice", True, aomic, slices=(0.5, 0.504))
    yield Case("AOMIC, padded", True, changed(lambda x: np.pad(x, 40)))
    yield Case("AOMIC, cropped", True, changed(lambda x: x[60:196, 50:180, 60:200]), every)
    yield Case("AOMIC, flipped", True, changed(lambda x: x[::-1, ::-1, ::-1]), every)
    yield Case("AOMIC, turned by 90 degrees", True, changed(lambda x: np.rot90(x, 1, (0, 2)), PLAIN), every)
    yield Case(
        "AOMIC, 4 mm slices", True, changed(lambda x: zoom(x.transpose(0, 2, 1), (1, 1, 0.25), order=1), ANISOTROPIC)
    )
    yield Case("AOMIC, 2 mm", True, changed(lambda x: zoom(x, 0.5, order=1), np.diag([2.0, 2, 2, 1])), every)
    yield Case(
        "AOMIC, 3.5 mm",
        True,
        changed(lambda x: zoom(gaussian_filter(x, 1.5), 0.28, order=1), np.diag([3.5, 3.5, 3.5, 1])),
    )
    yield Case(
        "AOMIC, non-square pixels", True, changed(lambda x: zoom(x, (1, 1, 0.6), order=1), np.diag([1.0, 1, 1.7, 1]))
    )
    yield Case("AOMIC, skull-stripped", True, changed(stripped), every)
    yield Case("AOMIC, defaced", True, changed(defaced), every)
    yield Case("AOMIC, T2-like", True, changed(t2_like), every)
    yield Case("AOMIC, FLAIR-like", True, changed(flair_like))
    yield Case("AOMIC, T2-like, stripped", True, changed(lambda x: stripped(t2_like(x))))
    yield Case("AOMIC, shaded", True, changed(shaded), every)
    yield Case("AOMIC, noisy", True, changed(noisy), every)
    yield Case("diffusion MRI, b = 0 (nibabel)", True, lambda: loaded(Path(nibabel_data) / "example4d.nii.gz"))


# What is no head


def grid(shape: tuple[int, int, int]) -> np.ndarray:
    """Coordinates in [-1, 1] along each axis, (3, x, y, z)."""
    return np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")).astype(np.float32)


def speckle(shape: tuple[int, ...], size: float, seed: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), size)
    return (noise / noise.std()).astype(np.float32)


def knee(kind: str) -> Callable[[], Volume]:
    """A knee of solids that change along z: femur, condyles, joint space, plateau, tibia and fibula; kneecap; muscles.

    Args:
        kind: "t1" (marrow and fat bright), "fatsat" (both dark, cartilage and fluid bright), "pd" (everything grey).
    """
    fat, muscle, marrow, cartilage, cortex = {
        "t1": (0.95, 0.35, 0.85, 0.45, 0.04),
        "fatsat": (0.15, 0.45, 0.12, 0.95, 0.03),
        "pd": (0.8, 0.5, 0.65, 0.75, 0.05),
    }[kind]

    def make() -> Volume:
        shape = (176, 160, 72)
        x, y, z = grid(shape)
        wave = 0.03 * np.sin(5 * z + 3 * np.arctan2(y, x))
        leg = np.hypot(x / (0.86 - 0.08 * z**2), y / (0.8 + 0.06 * z)) + wave - 1
        image = np.where(leg < 0, fat, 0.0).astype(np.float32)
        image[leg < -0.03] = fat
        # Muscles: the nearest of some seeds, parted by thin fat.
        seeds = np.random.default_rng(3).uniform(-0.6, 0.6, (9, 2))
        away = np.stack([np.hypot(x - a - 0.05 * z, y - b) for a, b in seeds])
        two = np.sort(away, axis=0)[:2]
        flesh = (leg < -0.17 - 0.06 * np.cos(3 * np.arctan2(y, x))) & (two[1] - two[0] > 0.03)
        image[flesh] = (muscle * (0.85 + 0.3 * np.random.default_rng(4).random(9)))[away.argmin(0)][flesh]
        flare = np.exp(-((np.abs(z) - 0.12) ** 2) / 0.08)
        bones = []
        for side in (-1, 1):
            part = (z * side) > 0.06
            shaft = np.hypot(x - 0.02, y + 0.12) / (0.2 + 0.26 * flare) - 1
            condyle = np.hypot((x - 0.26) / 0.27, (y + 0.1) / 0.36, dtype=np.float32) - 1
            other = np.hypot((x + 0.26) / 0.27, (y + 0.1) / 0.38, dtype=np.float32) - 1
            near = (z * side) < 0.36
            both = np.minimum(shaft, np.where(near, np.minimum(condyle, other), 1))
            bones.append(np.where(part, both, 1))
        fibula = np.where(z > 0.3, np.hypot((x + 0.42) / 0.1, (y - 0.15) / 0.1) - 1, 1)
        cap = np.hypot(np.hypot(x / 0.28, (y + 0.68) / 0.12), (z + 0.1) / 0.4) - 1
        gap = (np.abs(z) < 0.1) & (np.hypot(x / 0.55, (y + 0.1) / 0.42) < 1)
        image[gap] = cartilage
        for bone in (*bones, fibula, cap):
            image[bone < 0] = cortex
            image[bone < -0.14] = marrow * (1 + 0.12 * speckle(shape, 1.2, 7)[bone < -0.14])
        for a, b in ((0.1, 0.45), (-0.05, 0.5), (0.3, 0.4)):
            image[np.hypot(x - a, y - b) < 0.045] = cortex
        return gaussian_filter(image * (1 + 0.05 * speckle(shape, 0.8, 8)), 0.6), np.diag([0.9, 0.9, 2.0, 1.0])

    return make


def analytic_knee() -> Volume:
    """Six even ellipses on a disc, as a textbook draws a knee; the same in all slices."""
    x, y, _ = grid((128, 128, 12))
    image = np.zeros(x.shape, np.float32)
    for value, cx, cy, rx, ry in (
        (0.9, 0, 0, 0.8, 0.75), (-0.5, 0, 0, 0.7, 0.65), (0.5, -0.25, 0.05, 0.24, 0.3), (0.5, 0.25, 0.05, 0.24, 0.3),
        (0.45, 0, -0.5, 0.2, 0.08), (-0.3, 0.0, 0.45, 0.06, 0.06),
    ):  # fmt: skip
        image += value * (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1)
    return image, np.diag([1.2, 1.2, 3.0, 1.0])


def two_discs() -> Volume:
    """The plainest knee: a grey disc with two bright bones."""
    x, y, _ = grid((160, 160, 8))
    image = 0.4 * (np.hypot(x, y) < 0.75).astype(np.float32)
    image[(np.hypot(x, y - 0.22) < 0.3) | (np.hypot(x + 0.35, y + 0.35) < 0.12)] = 1
    return image, np.diag([1.0, 1.0, 3.0, 1.0])


def thigh(count: int) -> Callable[[], Volume]:
    """One thigh or two: fat, compartments of muscle, a bone with marrow."""

    def make() -> Volume:
        shape = (192, 128, 24) if count == 2 else (144, 144, 24)
        x, y, z = grid(shape)
        image = np.zeros(shape, np.float32)
        for n in range(count):
            centre = 0 if count == 1 else (-0.5, 0.5)[n]
            u, v = (x - centre) * count, y
            r, angle = np.hypot(u, v * 1.1), np.arctan2(v, u)
            image[r < 0.88] = 1.0
            image[r < 0.72 + 0.04 * np.cos(2 * angle)] = 0.4
            image[(r < 0.72) & (np.abs(np.sin(3 * angle + 2 * r + 0.4 * z)) < 0.08)] = 0.8
            image[np.hypot(u - 0.08, v + 0.06) < 0.2] = 0.02
            image[np.hypot(u - 0.08, v + 0.06) < 0.12] = 0.9
        return gaussian_filter(image * (1 + 0.06 * speckle(shape, 0.7, 2)), 0.7), np.diag([2.0, 1.5, 5.0, 1.0])

    return make


def abdomen() -> Volume:
    """Liver, spleen, kidneys, stomach, spine, aorta and bowel in a fatty wall."""
    shape = (192, 144, 30)
    x, y, z = grid(shape)
    image = np.where((np.abs(x / 0.92) ** 2.4 + np.abs(y / 0.85) ** 2.4) < 1, 0.9, 0).astype(np.float32)
    image[(np.abs(x / 0.83) ** 2.4 + np.abs(y / 0.73) ** 2.4) < 1] = 0.3
    for value, cx, cy, cz, rx, ry, rz in (
        (0.55, -0.35, -0.1, 0.3, 0.42, 0.5, 1.0), (0.5, 0.55, 0.15, 0.4, 0.18, 0.28, 0.7),
        (0.45, -0.4, 0.35, -0.4, 0.14, 0.2, 0.7), (0.45, 0.4, 0.35, -0.4, 0.14, 0.2, 0.7),
        (0.15, 0.25, -0.3, 0.3, 0.25, 0.22, 0.6), (0.65, 0, 0.5, 0, 0.13, 0.15, 9), (0.02, 0, 0.5, 0, 0.05, 0.05, 9),
        (0.02, 0.05, 0.27, 0, 0.07, 0.07, 9), (0.8, -0.1, -0.35, -0.5, 0.2, 0.15, 0.4),
    ):  # fmt: skip
        image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1] = value
    return gaussian_filter(image * (1 + 0.08 * speckle(shape, 1, 4)), 0.6), np.diag([2.0, 2.0, 6.0, 1.0])


def quality_phantom() -> Volume:
    """A cylinder of water with a grid, rows of holes, a wedge and bars, slice by slice, as quality phantoms have."""
    shape = (160, 160, 11)
    x, y, _ = grid(shape)
    image = 0.9 * (np.hypot(x, y) < 0.85).astype(np.float32)
    inner = np.maximum(np.abs(x), np.abs(y)) < 0.55
    for n in range(11):
        a, b, plane = x[..., n], y[..., n], image[..., n]
        if n in (2, 3):
            plane[inner[..., n] & ((np.abs(np.sin(14 * a)) < 0.15) | (np.abs(np.sin(14 * b)) < 0.15))] = 0.1
        elif n in (0, 1):
            for k in range(5):
                for m in range(5):
                    plane[np.hypot(a + 0.3 - 0.15 * k, b + 0.3 - 0.15 * m) < 0.015 * (k + 1)] = 0.1
        elif n in (7, 8, 9, 10):
            turn = np.arctan2(a, b) * 10 / (2 * np.pi)
            plane[(np.abs(np.hypot(a, b) - 0.35) < 0.06) & (np.abs(turn - np.round(turn)) < 0.25)] = 0.7
        elif n == 5:
            plane[(b > 0.3) & (b < 0.3 + 0.2 * (a + 1)) & (np.hypot(a, b) < 0.8)] = 0.2
    return image, np.diag([1.5, 1.5, 10.0, 1.0])


def bottle() -> Volume:
    """A bottle of water, shaded at its rim."""
    x, y, z = grid((128, 128, 40))
    r = np.hypot(x, y)
    return ((r < 0.7) * (1 - 0.3 * r**2) * (np.abs(z) < 0.8)).astype(np.float32), np.diag([1.5, 1.5, 4.0, 1.0])


def spine() -> Volume:
    """Along the back: vertebrae, discs, cord in its bright canal, fat behind."""
    shape = (20, 128, 192)
    _, y, z = grid(shape)
    back = 0.12 * np.sin(2.5 * z)
    image = np.where(np.abs(y) < 0.85, 0.35 + 0.1 * speckle(shape, 4, 9), 0).astype(np.float32)
    image[(y > 0.6) & (y < 0.85)] = 0.95
    column = np.abs(y + 0.1 - back) < 0.2
    step = np.abs(((z * 5) % 1) - 0.5)
    image[column] = np.where(step < 0.36, 0.65, 0.25)[column]
    image[np.abs(y - 0.22 - back) < 0.1] = 0.9
    image[np.abs(y - 0.22 - back) < 0.05] = 0.45
    return np.maximum(image, 0), np.diag([4.0, 2.0, 2.0, 1.0])


def shepp_logan() -> Volume:
    """The test picture of computed tomography; a drawing of a head, but none that the prior has seen."""
    from skimage.data import shepp_logan_phantom

    return np.repeat(shepp_logan_phantom()[::2, ::2, None], 6, 2).astype(np.float32), PLAIN


def photograph(name: str) -> Callable[[], Volume]:
    def make() -> Volume:
        from sklearn.datasets import load_sample_image

        return np.repeat(load_sample_image(name).mean(2)[::2, ::2, None], 4, 2).astype(np.float32), PLAIN

    return make


def ultrasound() -> Volume:
    with np.load(DATA / "ultrasound" / "siue_psax_echo_lv_rv.npz") as file:
        return file["image"].transpose(1, 2, 0).astype(np.float32), PLAIN


def dicom_series() -> Volume:
    """The CT series in Hounsfield units."""
    import pydicom

    read = [pydicom.dcmread(path) for path in (DATA / "ct" / "totalseg_example_dicom").glob("*.dcm")]
    read.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    data = np.stack([f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept) for f in read], 2)
    return data[::2, ::2].astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])


def tomography(name: str, read: Callable[[], Volume]) -> Iterator[Case]:
    """A CT volume in the ways that people make magnitudes of it."""
    windows: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "Hounsfield units": lambda x: x,
        "shifted": lambda x: x - x.min(),
        "cut at 0": lambda x: np.maximum(x, 0),
        "soft tissue": lambda x: np.clip(x + 160, 0, 400),
    }
    for words, window in windows.items():
        yield Case(
            f"CT {name}, {words}",
            False,
            lambda w=window: (w(read()[0]), read()[1]),
            (0, 1, 2) if name != "series" else (None,),
        )


def others() -> Iterator[Case]:
    @cache
    def chest() -> Volume:
        data, affine = loaded(DATA / "ct" / "lidc-idri-0314_chest_slab.nii.gz")
        return data[::2, ::2], affine @ np.diag([2.0, 2, 1, 1])

    for case in tomography("chest", chest):
        yield Case(case.name, False, case.make, (2,))  # 24 slices: too thin to cut along
    yield from tomography("aorta", cache(lambda: loaded(DATA / "ct" / "totalseg_aorta_ct_1p5mm.nii.gz")))
    yield from tomography("brain atlas", cache(lambda: loaded(DATA / "ct" / "totalseg_ct_brain_atlas_1mm.nii.gz")))
    yield from tomography("series", cache(dicom_series))
    every = (0, 1, 2)
    for kind in ("t1", "fatsat", "pd"):
        yield Case(f"knee, {kind}", False, knee(kind), every)
    yield Case("knee, analytic", False, analytic_knee)
    yield Case("knee, two discs", False, two_discs)
    yield Case("thigh", False, thigh(1))
    yield Case("thighs", False, thigh(2))
    yield Case("abdomen", False, abdomen, (1, 2))
    yield Case("spine", False, spine, (0,))
    yield Case("quality phantom", False, quality_phantom)
    yield Case("bottle", False, bottle, (0, 2))
    yield Case("Shepp-Logan", False, shepp_logan)
    yield Case("echocardiogram", False, ultrasound, (2,))
    for name in ("china.jpg", "flower.jpg"):
        yield Case(f"photograph {name}", False, photograph(name), (2,))

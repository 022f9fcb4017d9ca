"""The peers that `mri.py` compares with, each as one function of the same data, mask and maps.

All take k-space (coils, readout, phase) of unit image scale, a mask (readout, phase), maps (sets, coils, readout, phase)
and the weight of their regulariser, and give complex images (sets, readout, phase).
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ornstein.datasets import cfl
from ornstein.datasets.fourier import to_image, to_kspace

ITERATIONS = 100  # sigpy's default for all its apps; the others get as many, or what they need where that is more
PRIMAL_DUAL = 300  # sigpy's total variation converges more slowly (see `converged` in mri.py's table)
BART_ADMM = 100

Reconstruct = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Peer:
    """A method of another library.

    Args:
        name: library and method.
        weights: of its regulariser, from which the best is chosen.
        run: the function.
    """

    name: str
    weights: tuple[float, ...]
    run: Reconstruct


def sigpy_wavelet(kspace: np.ndarray, mask: np.ndarray, maps: np.ndarray, weight: float) -> np.ndarray:
    """`L1WaveletRecon` as it is; with two sets of maps the same problem, built from sigpy's own pieces."""
    import sigpy
    import sigpy.mri

    if len(maps) == 1:
        app = sigpy.mri.app.L1WaveletRecon(
            kspace, maps[0], weight, weights=mask.astype(np.float32), show_pbar=False, max_iter=ITERATIONS
        )
        return app.run()[None]
    shape = maps.shape[2:]
    encode = sigpy.linop.Hstack(
        [sigpy.mri.linop.Sense(part) * sigpy.linop.Reshape(shape, (1, *shape)) for part in maps], axis=0
    )
    encode = sigpy.linop.Multiply(kspace.shape, mask.astype(np.float32)) * encode
    wavelet = sigpy.linop.Wavelet((len(maps), *shape), axes=(-2, -1), wave_name="db4")
    proximal = sigpy.prox.UnitaryTransform(sigpy.prox.L1Reg(wavelet.oshape, weight), wavelet)
    return sigpy.app.LinearLeastSquares(
        encode, kspace * mask, proxg=proximal, show_pbar=False, max_iter=ITERATIONS
    ).run()


def sigpy_variation(kspace: np.ndarray, mask: np.ndarray, maps: np.ndarray, weight: float) -> np.ndarray:
    """`TotalVariationRecon` (anisotropic, primal-dual)."""
    import sigpy.mri

    assert len(maps) == 1, "one set of maps"
    app = sigpy.mri.app.TotalVariationRecon(
        kspace, maps[0], weight, weights=mask.astype(np.float32), show_pbar=False, max_iter=PRIMAL_DUAL
    )
    return app.run()[None]


def bart(*arguments: str, inputs: dict[str, np.ndarray], output: str) -> np.ndarray:
    """Runs `bart` on arrays in BART's axis order; the output, likewise.

    Args:
        arguments: of the program; names of inputs and of the output stand for their files.
        inputs: arrays by name.
        output: the name of the array that comes back.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, array in inputs.items():
            cfl.write(Path(folder) / f"{name}.cfl", array)
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        subprocess.run(["bart", *arguments], cwd=folder, check=True, capture_output=True, env=environment)
        return np.array(cfl.read(Path(folder) / f"{output}.cfl"))


def _bart_pics(kind: str, *more: str) -> Reconstruct:
    def run(kspace: np.ndarray, mask: np.ndarray, maps: np.ndarray, weight: float) -> np.ndarray:
        rows = kspace.shape[1]
        if rows % 2:
            # BART's centre lies between two pixels where a size is odd: a row of air makes the readout even.
            assert bool((mask == mask[:1]).all()), "an odd readout that is not sampled fully"
            hybrid = np.pad(to_image(kspace, (1,)), ((0, 0), (0, 1), (0, 0)))
            kspace, mask = to_kspace(hybrid, (1,)), np.pad(mask, ((0, 1), (0, 0)), mode="edge")
            maps = np.pad(maps, ((0, 0), (0, 0), (0, 1), (0, 0)))
        assert kspace.shape[2] % 2 == 0, "an odd number of lines"
        inputs = {
            "kspace": (kspace * mask).transpose(1, 2, 0)[:, :, None],
            "maps": maps.transpose(2, 3, 1, 0)[:, :, None],
        }
        call = ("pics", "-S", *more, "-R", f"{kind}:3:0:{weight:g}", "kspace", "maps", "image")
        image = bart(*call, inputs=inputs, output="image")
        return image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)[:, :rows]

    return run


def deepinv_variation(kspace: np.ndarray, mask: np.ndarray, maps: np.ndarray, weight: float) -> np.ndarray:
    """FISTA with `TVPrior`, whose proximal step keeps its dual variables from one call to the next."""
    from deepinv.optim import FISTA, L2, TVPrior
    from deepinv.physics import MultiCoilMRI

    assert len(maps) == 1, "one set of maps"
    physics = MultiCoilMRI(mask=torch.from_numpy(mask.astype(np.float32)), coil_maps=torch.from_numpy(maps[0]))
    y = torch.view_as_real(torch.from_numpy(kspace * mask)).movedim(-1, 0)[None].contiguous()
    model = FISTA(
        data_fidelity=L2(), prior=TVPrior(n_it_max=10), stepsize=1.0, lambda_reg=weight, max_iter=ITERATIONS,
        early_stop=False,
    )  # fmt: skip
    with torch.no_grad():
        x = model(y, physics)
    return torch.view_as_complex(x[0].movedim(0, -1).contiguous())[None].numpy()


def available() -> tuple[list[Peer], list[str]]:
    """The peers that are installed, and a sentence for each that is not."""
    found: list[Peer] = []
    missing: list[str] = []
    if importlib.util.find_spec("sigpy"):
        found += [
            Peer("sigpy L1-wavelet", (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016), sigpy_wavelet),
            Peer("sigpy TV", (0.0005, 0.001, 0.002, 0.004, 0.008), sigpy_variation),
        ]
    else:
        missing.append("sigpy is not installed: its rows are left out (uv sync --group bench)")
    if shutil.which("bart"):
        found += [
            Peer(
                "BART L1-wavelet",
                (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016),
                _bart_pics("W", "-i", str(ITERATIONS)),
            ),
            Peer("BART TV", (0.0005, 0.001, 0.002, 0.004, 0.008), _bart_pics("T", "-i", str(BART_ADMM), "-u", "0.1")),
        ]
    else:
        missing.append("BART is not installed: its rows are left out (Debian package bart)")
    if importlib.util.find_spec("deepinv"):
        found.append(Peer("deepinv TV", (0.0005, 0.001, 0.002, 0.004, 0.008), deepinv_variation))
    else:
        missing.append("deepinv is not installed: its row is left out (uv sync --group bench)")
    return found, missing

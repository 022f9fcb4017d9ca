"""The prior over complex slices: its network, its training from a configuration, and loading it."""

import glob
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile
from zlib import error as ZlibError

import nibabel as nib
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from torch import Tensor, nn

from ornstein.core.checkpoints import load_model, save_model
from ornstein.core.configuration import Configuration
from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.errors import InputError, ModelError
from ornstein.core.networks.unet import UNet
from ornstein.core.noise import key
from ornstein.core.paths import EDM
from ornstein.core.training.loop import TrainingSettings, explained, train, world
from ornstein.core.training.objectives import LogNormalTimes, denoising_loss, path_of, stratified
from ornstein.domains.mri.crops import Crops, informative_slices, unit_scale
from ornstein.domains.mri.judge_training import train_judge
from ornstein.domains.mri.typicality import save_judge

LEVELS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)
DAMAGE = (OSError, LookupError, ValueError, TypeError, EOFError, ImageFileError, HeaderDataError, BadZipFile, ZlibError)
"""What reading a damaged volume raises."""


@dataclass(frozen=True)
class Source:
    """Where training slices come from.

    Args:
        path: NIfTI files, with wildcards, or one .npz file.
        weight: how often this source is drawn, relative to the others.
        slice_axes: the axes along which slices are cut.
        array: for .npz, the array's name; its first axis counts volumes.
        volumes: for .npz, [first, last) of the volumes; all where empty.
    """

    path: str
    weight: float = 1.0
    slice_axes: tuple[int, ...] = (0, 1, 2)
    array: str = ""
    volumes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight {self.weight}: must be above 0")
        if not self.slice_axes or not set(self.slice_axes) <= {0, 1, 2}:
            raise ValueError(f"slice_axes {list(self.slice_axes)}: must be some of 0, 1, 2")

    def slices(self) -> list[np.ndarray]:
        """All informative slices of unit scale.

        Raises:
            InputError: where no file is found, or one is not a volume with tissue in it.
        """
        found = sorted(glob.glob(self.path, recursive=True))
        if not found:
            raise InputError(
                f"data.path {self.path}: no such file", "Correct the path; it is relative to where you stand."
            )
        slices: list[np.ndarray] = []
        for name in found:
            for volume in self._volumes(name):
                if volume.ndim != 3:
                    raise InputError(f"{name}: shape {volume.shape}, not a volume of three axes", "Leave the file out.")
                if not np.isfinite(volume).all() or not (volume > 0).any():
                    raise InputError(f"{name}: holds NaN or infinity, or no signal", "Repair it, or leave it out.")
                scaled = unit_scale(volume)
                slices += [s for axis in self.slice_axes for s in informative_slices(scaled, axis)]
        if not slices:
            raise InputError(f"data.path {self.path}: no slice holds tissue", "Check that these are images of anatomy.")
        return slices

    def _volumes(self, name: str) -> list[np.ndarray]:
        """The magnitude volumes of one file."""
        try:
            if name.endswith(".npz"):
                with np.load(name, allow_pickle=False) as file:
                    volumes = file[self.array]
                return list(np.asarray(volumes[slice(*self.volumes)] if self.volumes else volumes, np.float32))
            data = np.asanyarray(nib.load(name).dataobj)  # type: ignore[attr-defined]
            return [(np.abs(data) if np.iscomplexobj(data) else data).astype(np.float32).squeeze()]
        except DAMAGE as error:
            raise InputError(f"{name}: cannot be read as a volume: {error}", "Repair it, or leave it out.") from error


@dataclass(frozen=True)
class PriorConfiguration(Configuration):
    """Everything that makes a prior; `ornstein train` reads it from YAML.

    Args:
        output: folder of the model; the training state goes to its sub-folder `training`.
        name: of the model.
        data, validation: sources; the prior is never trained on validation, its judge is on both.
        others: sources of what the prior is not for; its judge learns to refuse them, beside what is drawn at random.
        judge: training steps of the judge, 0 for none: then nothing is refused.
        channels, blocks, patch, attention: of the U-Net.
        sigma_data: standard deviation of a channel of the crops.
        noise_mean, noise_std: of log(sigma) in training.
        crop, batch: side and number of crops.
        training: see `TrainingSettings`.
        card: free text for the model card: data, licence, limits.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    hint: ClassVar[str] = "See docs/training.md for the fields of an MRI prior."

    output: str
    name: str
    data: tuple[Source, ...]
    validation: tuple[Source, ...] = ()
    others: tuple[Source, ...] = ()
    judge: int = 0
    channels: tuple[int, ...] = (48, 56, 64, 56)
    blocks: int = 2
    patch: int = 2
    attention: tuple[int, ...] = ()
    sigma_data: float = 0.3
    noise_mean: float = -1.9
    noise_std: float = 1.4
    crop: int = 128
    batch: int = 16
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("data: no source is given")
        if not self.channels or min(*self.channels, self.blocks, self.patch, self.crop, self.batch) < 1:
            raise ValueError("channels, blocks, patch, crop and batch must be at least 1")
        if self.judge < 0:
            raise ValueError(f"judge {self.judge}: must be at least 0")
        if min(self.sigma_data, self.noise_std) <= 0:
            raise ValueError("sigma_data and noise_std must be above 0")
        if not set(self.attention) <= set(range(len(self.channels))):
            raise ValueError(f"attention {list(self.attention)}: levels run from 0 to {len(self.channels) - 1}")


def build(architecture: dict[str, Any], sigma_data: float) -> NetworkDenoiser:
    """A prior with fresh weights: complex images as two channels, on the EDM path."""
    return NetworkDenoiser(UNet(dims=2, in_channels=2, out_channels=2, **architecture), EDM(), "edm", sigma_data)


def train_prior(
    configuration: PriorConfiguration,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Path:
    """Trains a prior, measures it on the validation slices and writes the model folder; resumes where it stopped."""
    c = configuration
    architecture = {"channels": list(c.channels), "blocks": c.blocks, "patch": c.patch, "attention": list(c.attention)}
    torch.manual_seed(key(c.training.seed))
    denoiser = build(architecture, c.sigma_data).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups, held_out, others = ([s.slices() for s in sources] for sources in (c.data, c.validation, c.others))
    log(f"{sum(map(len, groups))} slices, {sum(p.numel() for p in denoiser.parameters()):,} weights")
    crops = Crops(groups, [source.weight for source in c.data], c.crop, c.batch)
    times = LogNormalTimes(c.noise_mean, c.noise_std)

    def loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        x0 = tensors["x0"]
        assert isinstance(model, NetworkDenoiser | nn.parallel.DistributedDataParallel)
        t = times(path_of(model), stratified(len(x0), generator)).to(x0.device)
        z = torch.randn(x0.shape, generator=generator).to(x0.device)
        return denoising_loss(model, x0, t, z, c.sigma_data)

    with explained():
        average = train(
            denoiser,
            crops,
            loss,
            c.training,
            Path(c.output) / "training",
            device=device,
            log=log,
            stop_after=stop_after,
        )
    assert isinstance(average, NetworkDenoiser)
    if world()[0] > 0:  # one process of several writes the model
        return Path(c.output)
    card: dict[str, Any] = {
        "name": c.name,
        "domain": "mri",
        "architecture": architecture,
        "sigma_data": c.sigma_data,
        "configuration": c.recorded,
        "denoising_rmse": denoising_errors(average, [s for group in held_out for s in group], c.crop)
        if held_out
        else {},
        **c.card,
    }
    if c.judge:
        # The judge learns from the validation slices too: a kind of head that it does not know, it might refuse.
        made = train_judge([*groups, *held_out], others, steps=c.judge, log=log)
        card["typicality"] = save_judge(c.output, made)
    save_model(c.output, average.network.state_dict(), card, dtype=torch.bfloat16)
    return Path(c.output)


@torch.no_grad()
def denoising_errors(
    denoiser: NetworkDenoiser, slices: list[np.ndarray], crop: int, count: int = 64
) -> dict[str, float]:
    """Root-mean-square error a real channel of x0_hat at each of LEVELS, on crops of slices not trained on."""
    crops = Crops([slices], [1.0], crop, count)(0, torch.Generator().manual_seed(1))["x0"]
    device = next(denoiser.parameters()).device
    crops = crops.to(device)
    generator = torch.Generator().manual_seed(2)
    errors = {}
    for sigma in LEVELS:
        z = torch.randn(crops.shape, generator=generator).to(device)
        t = denoiser.path.time_of(-torch.tensor(sigma, dtype=torch.float64).log())
        x_t = denoiser.path.mix(crops, z, t)
        with torch.autocast(device.type, torch.bfloat16):
            x0 = torch.cat([denoiser(part, t) for part in x_t.split(16)])
        errors[str(sigma)] = float((x0 - crops).square().mean().sqrt())
    return errors


def load_prior(folder: Path | str, device: str | torch.device = "cpu") -> tuple[NetworkDenoiser, dict[str, Any]]:
    """The prior of a model folder, ready to use, and its card.

    Raises:
        ModelError: where the folder holds no MRI prior, or a damaged one.
    """
    tensors, card = load_model(folder)
    try:
        denoiser = build(card["architecture"], card["sigma_data"])
        denoiser.network.load_state_dict(tensors)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{folder}: not an MRI prior", "Name a model of `ornstein models list` whose domain is mri."
        ) from error
    return denoiser.to(device).to(memory_format=torch.channels_last).eval(), card  # type: ignore[call-overload]

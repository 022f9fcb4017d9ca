"""Training the speech model from a configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ornstein.core.checkpoints import save_model
from ornstein.core.configuration import Configuration
from ornstein.core.noise import key
from ornstein.core.training.loop import TrainingSettings, explained, load_average, train, world
from ornstein.core.training.objectives import path_of, stratified
from ornstein.domains.speech.enhancement import SpeechDenoiser, build
from ornstein.domains.speech.measures import estoi, pesq, si_sdr
from ornstein.domains.speech.mixtures import KEEP_ROOM, Mixture, Mixtures, Recipe, Sounds, load_bank
from ornstein.domains.speech.perception import perceptual_distance
from ornstein.domains.speech.spectrogram import RATE, Spectrogram


@dataclass(frozen=True)
class LossWeights:
    """The weights of the parts of the loss, each at least 0.

    Args:
        spectrum: of |c_hat - c|^2 / factor^2, the compressed complex spectra.
        magnitude: of (|X_hat|^0.3 - |X|^0.3)^2.
        wave: of log10(|error|^2 / |clean|^2), the wave's error, down to -30 dB.
        perception: of `perceptual_distance`, the model of hearing that PESQ measures with.
    """

    spectrum: float = 3.0
    magnitude: float = 20.0
    wave: float = 1.0
    perception: float = 0.5

    def __post_init__(self) -> None:
        if min(self.spectrum, self.magnitude, self.wave, self.perception) < 0:
            raise ValueError("spectrum, magnitude, wave and perception must be at least 0")


@dataclass(frozen=True)
class EnhancerConfiguration(Configuration):
    """Everything that makes a speech model; `ornstein train` reads it from YAML.

    Args:
        output: folder of the model; the training state goes to its sub-folder `training`.
        name: of the model.
        data: where sounds come from, and which are held out.
        recipe: how mixtures are drawn.
        simulated_rooms: how many join the measured ones, at least 0.
        patch, channels, blocks, hidden, narrow: of the network.
        sigma: noise of the bridge, above 0, in units of compressed spectra.
        predictor: share of segments trained at t = 1, where x_t = y, in [0, 1].
        loss: weights of its parts.
        validation: mixtures of held-out sounds that are scored at the end, at least 0.
        training: see `TrainingSettings`.
        card: free text for the model card: data, licence, limits.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    hint: ClassVar[str] = "See docs/training.md for the fields of a speech model."

    output: str
    name: str
    data: Sounds
    recipe: Recipe = field(default_factory=Recipe)
    simulated_rooms: int = 150
    patch: int = 4
    channels: tuple[int, ...] = (64, 96)
    blocks: int = 3
    hidden: int = 96
    narrow: int = 16
    sigma: float = 0.1
    predictor: float = 0.6
    loss: LossWeights = field(default_factory=LossWeights)
    validation: int = 60
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.channels or min(self.patch, *self.channels, self.blocks, self.hidden, self.narrow) < 1:
            raise ValueError("patch, channels, blocks, hidden and narrow must be at least 1")
        if Spectrogram().bins % (self.patch * 2 ** (len(self.channels) - 1)):
            raise ValueError(f"patch and channels: their levels do not divide {Spectrogram().bins} bins")
        if self.sigma <= 0 or not 0 <= self.predictor <= 1:
            raise ValueError("sigma must be above 0, predictor in [0, 1]")
        if min(self.simulated_rooms, self.validation) < 0:
            raise ValueError("simulated_rooms and validation must be at least 0")

    @property
    def architecture(self) -> dict[str, Any]:
        """What `build` makes the network of."""
        return {
            "patch": self.patch,
            "channels": list(self.channels),
            "blocks": self.blocks,
            "hidden": self.hidden,
            "narrow": self.narrow,
        }


@dataclass(frozen=True)
class EnhancementLoss:
    """The loss of x0_hat at times of which a share is t = 1: called as the training loop calls it.

    Args:
        predictor: share of t = 1; the other times are uniform.
        weights: of the parts.
        spectrogram: between waves and what the model sees.
    """

    predictor: float
    weights: LossWeights
    spectrogram: Spectrogram = field(default_factory=Spectrogram)

    def __call__(self, model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of every mixture {"noisy", "clean"} (batch, samples), {"task"} (batch,): (batch,)."""
        assert isinstance(model, SpeechDenoiser | nn.parallel.DistributedDataParallel)
        clean, noisy = tensors["clean"], tensors["noisy"]
        x0, y = self.spectrogram.forward(clean), self.spectrogram.forward(noisy)
        t = (stratified(len(x0), generator) / max(1 - self.predictor, 1e-9)).clamp(1e-3, 1.0).to(x0.device)
        z = torch.randn(x0.shape, generator=generator).to(x0.device)
        x_t = path_of(model).mix(x0, z, t, y)
        x0_hat = model(x_t, t, y, task=tensors["task"]).float()
        with torch.autocast(clean.device.type, enabled=False):
            return self.distance(x0_hat, x0, clean)

    def distance(self, x0_hat: Tensor, x0: Tensor, clean: Tensor) -> Tensor:
        """The loss of spectrograms (batch, 2, bins, frames) of clean waves (batch, samples): (batch,)."""
        factor, w = self.spectrogram.factor, self.weights
        spectrum = (x0_hat - x0).square().sum(1).flatten(1).mean(1) / factor**2
        magnitude = (self._rooted(x0_hat) - self._rooted(x0)).square().flatten(1).mean(1)
        estimate = self.spectrogram.inverse(x0_hat, clean.shape[1])
        error, power = (estimate - clean).square().sum(1), clean.square().sum(1)
        wave = torch.log10((error + 1e-3 * power + 1e-6) / (power + 1e-6))
        # Where nothing is said there is neither a ratio nor a quality: the spectra alone ask for silence.
        heard = (power > 1e-2).float() * (w.wave * wave + w.perception * perceptual_distance(estimate, clean))
        return w.spectrum * spectrum + w.magnitude * magnitude + heard

    def _rooted(self, c: Tensor) -> Tensor:
        """|X|^0.3 from c, its slope bounded at 0."""
        return (c.square().sum(1) / self.spectrogram.factor**2 + 1e-4) ** 0.3


def train_enhancer(
    configuration: EnhancerConfiguration,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Path:
    """Trains a speech model, scores it on held-out mixtures and writes its folder; resumes where it stopped."""
    c = configuration
    torch.manual_seed(key(c.training.seed))
    denoiser = build(c.architecture, c.sigma).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    bank = load_bank(c.data, simulated_rooms=c.simulated_rooms, seed=c.training.seed, log=log)
    log(f"{sum(p.numel() for p in denoiser.parameters()):,} weights")
    with explained():
        average = train(
            denoiser,
            Mixtures(bank, c.recipe),
            EnhancementLoss(c.predictor, c.loss),
            c.training,
            Path(c.output) / "training",
            device=device,
            log=log,
            stop_after=stop_after,
        )
    assert isinstance(average, SpeechDenoiser)
    if world()[0] > 0:  # one process of several writes the model
        return Path(c.output)
    card = {
        "name": c.name,
        "domain": "speech",
        "architecture": c.architecture,
        "sigma": c.sigma,
        "configuration": c.recorded,
        "held_out_scores": scores(average, held_out_mixtures(c, log)) if c.validation else {},
        **c.card,
    }
    save_model(c.output, average.network.state_dict(), card, dtype=torch.bfloat16)
    return Path(c.output)


def load_unfinished(configuration: EnhancerConfiguration) -> SpeechDenoiser:
    """The moving average of the weights at the last checkpoint of a training that still goes on.

    Raises:
        ModelError: where there is none yet, or it is of another architecture.
    """
    denoiser = build(configuration.architecture, configuration.sigma)
    load_average(denoiser, Path(configuration.output) / "training")
    return denoiser.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def held_out_mixtures(configuration: EnhancerConfiguration, log: Callable[[str], None] = print) -> list[Mixture]:
    """Noisy mixtures at 0 to 15 dB of speakers and noises that are never trained on, 4 s each."""
    bank = load_bank(configuration.data, held_out=True, log=log)
    recipe = Recipe(
        seconds=4.0, dereverberation=0, room=0, alone=0, silent=0, babble=0, coloured=0, clipped=0, narrow=0
    )
    random, mixtures = np.random.default_rng(1), Mixtures(bank, recipe)
    return [mixtures.at(random, snr) for snr in np.linspace(0, 15, configuration.validation)]


@torch.no_grad()
def scores(denoiser: SpeechDenoiser, mixtures: list[Mixture]) -> dict[str, float]:
    """Mean measures of the mixtures as they are, and of what one evaluation makes of them."""
    spectrogram, device = Spectrogram(), next(denoiser.parameters()).device
    rows = []
    for mixture in mixtures:
        y = spectrogram.forward(torch.from_numpy(mixture.noisy)[None].to(device))
        task = torch.full((1,), KEEP_ROOM, device=device)
        with torch.autocast(device.type, torch.bfloat16):
            x0 = denoiser(y, torch.ones(1), y, task=task)
        wave = spectrogram.inverse(x0, len(mixture.noisy))[0].cpu().numpy()
        rows.append([f(w) for w in (mixture.noisy, wave) for f in _measures(mixture.clean)])
    names = [name + tag for tag in ("_input", "") for name in ("pesq", "estoi", "si_sdr")]
    return {name: round(float(np.mean(column)), 3) for name, column in zip(names, zip(*rows)) if None not in column}


def _measures(clean: np.ndarray) -> tuple[Callable[[np.ndarray], float | None], ...]:
    return (
        lambda wave: pesq(wave, clean),
        lambda wave: estoi(wave, clean, RATE),
        lambda wave: si_sdr(wave, clean),
    )

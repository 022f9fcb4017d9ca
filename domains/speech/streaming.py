"""Recordings of any rate, channels and length through the model: chunks that overlap, and the band above the model's."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from ornstein.core.grids import Uniform
from ornstein.core.noise import KeyedNoise
from ornstein.core.precision import autocast
from ornstein.core.solvers import Exponential, sample
from ornstein.datasets.audio import resampled
from ornstein.domains.speech.enhancement import SpeechDenoiser
from ornstein.domains.speech.mixtures import REFERENCE
from ornstein.domains.speech.spectrogram import RATE, Spectrogram

Array = np.ndarray

CHUNK, OVERLAP = 8, 1
"""Seconds of a chunk and of what two neighbours share, whole numbers: their ends are samples at every rate."""

HOP = Spectrogram().hop

TOP = (5000.0, 7500.0)
"""Hz; what the model does there is done above its band as well. Of slower recordings it is their own top third."""


class Loudness:
    """The RMS of a recording while it is loud: over the tenths of a second within 25 dB of the loudest.

    Blocks of (channels, samples) are given to `add`, in order; `value` is what is known so far, 0 for silence.
    """

    def __init__(self) -> None:
        self._powers: list[Array] = []
        self.peak = 0.0

    def add(self, block: Array, rate: int) -> None:
        """Hears a block; what is left of its last tenth of a second counts as a whole one."""
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        loudest = np.square(block, dtype=np.float64).mean(0)
        edges = np.arange(0, len(loudest), max(1, rate // 10))
        if len(edges):
            self._powers.append(np.add.reduceat(loudest, edges) / np.diff(np.append(edges, len(loudest))))

    @property
    def value(self) -> float:
        powers = np.concatenate(self._powers) if self._powers else np.zeros(1)
        return float(np.sqrt(powers[powers >= 10**-2.5 * powers.max()].mean()))


class Method(Protocol):
    """What enhances a chunk: waves (channels, samples) at the model's rate and level, and the chunk's number, give waves
    (versions, channels, samples), the first of them the result, and the deviation of its samples as spectra (channels,
    bins, frames), of no frames where there is none.
    """

    @property
    def versions(self) -> int: ...

    def __call__(self, noisy: Array, number: int) -> tuple[Array, Array]: ...


@dataclass(frozen=True)
class Bridge:
    """The model as a method: samples of the bridge from the noisy to the clean spectrogram, and their mean.

    Args:
        denoiser: the model.
        task: 0 keeps the room, 1 removes it.
        steps: evaluations of the network a sample, at least 1.
        samples: posterior samples whose mean is the result, at least 1.
        seed: of the noise between steps; one step has none.
        precision: "fp32", "bf16" or "fp16", of the network's arithmetic.
        keep: give the samples after their mean as further versions.
        at_once: how many samples of channels go through the network together, at least 1; it changes memory and time only.
    """

    denoiser: SpeechDenoiser
    task: float = 0.0
    steps: int = 1
    samples: int = 1
    seed: int = 0
    precision: str = "bf16"
    keep: bool = False
    at_once: int = 8
    spectrogram: Spectrogram = field(default_factory=Spectrogram)

    @property
    def versions(self) -> int:
        return 1 + self.samples * self.keep

    @torch.no_grad()
    def __call__(self, noisy: Array, number: int) -> tuple[Array, Array]:
        device = next(self.denoiser.parameters()).device
        channels, n = len(noisy), self.samples
        y = self.spectrogram.forward(torch.from_numpy(noisy).to(device)).repeat_interleave(n, dim=0)
        # One sample is the flow's, which has no noise; several differ by theirs.
        solver = Exponential(order=1, stochasticity=0.0 if n == 1 else 1.0)
        made = []
        for first in range(0, len(y), self.at_once):
            some = y[first : first + self.at_once]
            keyed = KeyedNoise(self.seed, [number * len(y) + first + i for i in range(len(some))])
            task = torch.full((len(some),), self.task, device=device)
            with autocast(device, self.precision):
                made.append(
                    sample(
                        self.denoiser, solver=solver, steps=self.steps, grid=Uniform(), y=some, noise=keyed, task=task
                    )
                )
        x0 = torch.cat(made)
        waves = self.spectrogram.inverse(x0, noisy.shape[1]).unflatten(0, (channels, n)).transpose(0, 1)
        waves = torch.cat([waves.mean(0, keepdim=True), *([waves] if self.keep else [])]).cpu().numpy()
        if n == 1:
            return waves, np.zeros((channels, self.spectrogram.bins, 0), np.float32)
        drawn = x0.unflatten(0, (channels, n)).float() / self.spectrogram.factor
        return waves, drawn.var(1).sum(1).sqrt().cpu().numpy()


@dataclass(frozen=True)
class Classical:
    """A method without a model, which has no deviation.

    Args:
        function: waves (channels, samples) at 16 kHz to waves.
    """

    function: Callable[[Array], Array]
    versions: int = 1

    def __call__(self, noisy: Array, number: int) -> tuple[Array, Array]:
        return self.function(noisy)[None], np.zeros((len(noisy), Spectrogram().bins, 0), np.float32)


@dataclass(frozen=True)
class Enhancer:
    """A method that is ready for recordings of any rate and length.

    Args:
        method: see there.
        mix: share of the result, in [0, 1]; the rest is the recording as it was.
        wide: drop what lies above the model's band, 8 kHz.
        progress: called with the seconds that are done.
    """

    method: Method
    mix: float = 1.0
    wide: bool = False
    progress: Callable[[float], None] | None = None

    def run(self, blocks: Iterable[Array], rate: int, loudness: Loudness) -> Iterator[tuple[Array, Array]]:
        """The enhanced recording, and how uncertain it is, as soon as each part is known.

        Every sample has its place: as many come out as went in, none late.

        Args:
            blocks: (channels, samples) in order, float32, of any lengths.
            rate: of these, in Hz.
            loudness: of the recording; where it is not yet known, it may go on hearing while `blocks` are drawn.

        Yields: (versions, channels, samples), the first version the result and the others its samples where they are
            kept; and their deviation as spectra (channels, bins, frames) of that part, in units of |X|^exponent, empty
            for one sample.
        """
        length, shared = CHUNK * rate, OVERLAP * rate
        # Halfway between the ends of two neighbours the older gives way to the newer; what lies near an end is not used.
        fade = np.clip((np.arange(shared) / shared - 0.25) * 2, 0, 1)
        fade = np.square(np.sin(fade * np.pi / 2)).astype(np.float32)
        tail: Array | None = None
        for number, (chunk, last) in enumerate(_chunks(blocks, length, shared)):
            made, deviation = self._chunk(chunk, rate, loudness.value, number)
            if tail is not None:
                over = min(shared, made.shape[-1])
                made[..., :over] = (1 - fade[:over]) * tail[..., :over] + fade[:over] * made[..., :over]
            keep = made.shape[-1] if last else length - shared
            tail = made[..., keep:]
            frames = deviation.shape[2] if last else round(keep / rate * RATE / HOP)
            yield made[..., :keep], deviation[:, :, :frames]
            if self.progress is not None:
                self.progress((number * (length - shared) + keep) / rate)

    def _chunk(self, chunk: Array, rate: int, loudness: float, number: int) -> tuple[Array, Array]:
        """One chunk (channels, samples), alone, in every version."""
        if loudness <= 0 or not chunk.any():
            silent = np.zeros((len(chunk), 1, 0), np.float32)
            return np.repeat(chunk[None], self.method.versions, axis=0), silent
        low = resampled(chunk, rate, RATE)
        gain = np.float32(REFERENCE / loudness)
        made, deviation = self.method(low * gain, number)
        # What the way to the model's rate and back loses: exact where nothing is to be removed.
        above = rate != RATE and not self.wide
        lost = chunk - resampled(low, RATE, rate)[:, : chunk.shape[1]] if above else None
        versions = []
        for enhanced in made / gain:
            out = resampled(enhanced, RATE, rate)[:, : chunk.shape[1]]
            if lost is not None:
                out = out + _top_gain(low, enhanced, chunk.shape[1], rate) * lost
            versions.append((self.mix * out + (1 - self.mix) * chunk).astype(np.float32))
        return np.stack(versions), deviation


def _chunks(blocks: Iterable[Array], length: int, shared: int) -> Iterator[tuple[Array, bool]]:
    """Blocks as chunks of `length` samples of which neighbours share some; the last is what is left, and says so.

    What is left at the end joins the chunk before it where it is shorter than what they would share.
    """
    waiting: list[Array] = []
    held = 0
    for block in blocks:
        waiting.append(block)
        held += block.shape[1]
        while held >= length + shared:
            whole = np.concatenate(waiting, axis=1)
            yield whole[:, :length], False
            waiting = [whole[:, length - shared :]]
            held = waiting[0].shape[1]
    if held:
        yield np.concatenate(waiting, axis=1), True


def _top_gain(before: Array, after: Array, samples: int, rate: int) -> Array:
    """How much of the top of the model's band was left, at most 1, over time: (channels, samples) at `rate`.

    Args:
        before, after: (channels, samples) at the model's rate.
        samples, rate: of the result.
    """
    n, hop = 512, 256
    window = np.hanning(n).astype(np.float32)
    share = min(1.0, 0.45 * rate / TOP[1])
    top = slice(round(TOP[0] * share * n / RATE), round(TOP[1] * share * n / RATE))

    def power(wave: Array) -> Array:
        padded = np.pad(wave, ((0, 0), (n // 2, n)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, n, axis=1)[:, ::hop]
        energy = np.square(np.abs(np.fft.rfft(frames * window)[..., top])).mean(-1)
        return np.stack([np.convolve(e, [0.25, 0.5, 0.25], "same") for e in energy])

    gains = np.sqrt((power(after) + 1e-12) / (power(before) + 1e-12)).clip(max=1.0)
    places = np.arange(samples) * (RATE / rate / hop)
    return np.stack([np.interp(places, np.arange(gains.shape[1]), g) for g in gains]).astype(np.float32)

"""Training mixtures: speech, noises and rooms drawn anew for every step."""

import fnmatch
import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import signal
from torch import Tensor

from ornstein.core.errors import InputError
from ornstein.datasets.audio import read_wave
from ornstein.datasets.mixing import (
    babble,
    band_limited,
    clipped,
    coloured_noise,
    looped,
    noise_gain,
    speech_shaped_noise,
    through_room,
)
from ornstein.datasets.rooms import simulate_room
from ornstein.domains.speech.spectrogram import RATE

KEEP_ROOM, REMOVE_ROOM = 0.0, 1.0
"""The tasks: noise alone is removed, or noise and reverberation."""

REFERENCE = 0.06
"""RMS that sound has inside the models."""


@dataclass(frozen=True)
class Sounds:
    """Where sounds come from.

    Args:
        speech, noise, rooms: sound files, with wildcards.
        held_out: names of files (with wildcards, no folder) that are kept for validation.
        noisy, clean: recordings that are pairs already, with wildcards; equal names belong together (the layout of
            VoiceBank-DEMAND and of WSJ0 mixtures). None where empty.
    """

    speech: str
    noise: str
    rooms: str
    held_out: tuple[str, ...] = ()
    noisy: str = ""
    clean: str = ""

    def __post_init__(self) -> None:
        if bool(self.noisy) != bool(self.clean):
            raise ValueError("noisy and clean belong together: give both or neither")


@dataclass(frozen=True)
class Bank:
    """Sounds in memory at 16 kHz, as float16.

    Args:
        speech: waves of each speaker.
        noise: waves.
        rooms: impulse responses.
        pairs: waves (2, samples), noisy and clean.
    """

    speech: Sequence[Sequence[np.ndarray]]
    noise: Sequence[np.ndarray]
    rooms: Sequence[np.ndarray]
    pairs: Sequence[np.ndarray] = ()


class Mixture(NamedTuple):
    """What is heard and what should be, both (samples,) float32, and the task."""

    noisy: np.ndarray
    clean: np.ndarray
    task: float


def speaker(path: str) -> str:
    """Who speaks, from a file's name: what stands before the first - or _ (LibriSpeech, VCTK)."""
    return Path(path).stem.replace("_", "-").partition("-")[0]


def load_bank(
    sounds: Sounds, held_out: bool = False, simulated_rooms: int = 0, seed: int = 0, log: Callable[[str], None] = print
) -> Bank:
    """The sounds for training, or those held out from it.

    Args:
        sounds: where they are.
        held_out: those whose names match `held_out`, instead of the others.
        simulated_rooms: how many simulated impulse responses join the measured ones.
        seed: of these.
        log: receives one line.

    Raises:
        InputError: where there is no file, or one is not sound.
    """

    def names(pattern: str) -> list[str]:
        found = [
            name
            for name in sorted(glob.glob(pattern, recursive=True))
            if held_out == any(fnmatch.fnmatch(Path(name).name, kept) for kept in sounds.held_out)
        ]
        if not found:
            raise InputError(
                f"data {pattern}: no file" + (" that is held out" if held_out else ""),
                "Correct the path; it is relative to where you stand.",
            )
        return found

    def read(name: str) -> np.ndarray:
        wave = read_wave(name, RATE)
        if not np.isfinite(wave).all() or not np.abs(wave).max() > 0:
            raise InputError(f"{name}: holds NaN or nothing but silence", "Repair it, or leave it out.")
        return (0.5 * wave / np.abs(wave).max()).astype(np.float16)

    by_speaker: dict[str, list[np.ndarray]] = {}
    for name in names(sounds.speech):
        by_speaker.setdefault(speaker(name), []).append(read(name))
    generator = np.random.default_rng((seed, int(held_out)))
    rooms = [read(name) for name in names(sounds.rooms)]
    rooms += [simulate_room(generator, RATE) for _ in range(simulated_rooms)]
    pairs = _pairs(names(sounds.noisy), names(sounds.clean)) if sounds.noisy and not held_out else []
    bank = Bank(list(by_speaker.values()), [read(name) for name in names(sounds.noise)], rooms, pairs)
    minutes = sum(len(w) for waves in bank.speech for w in waves) / RATE / 60
    log(
        f"{len(bank.speech)} speakers with {minutes:.0f} minutes, {len(bank.noise)} noises, {len(bank.rooms)} rooms"
        + (f", {len(bank.pairs)} pairs" if bank.pairs else "")
        + (" held out" if held_out else "")
    )
    return bank


def _pairs(noisy: list[str], clean: list[str]) -> list[np.ndarray]:
    """Recordings of equal names together, (2, samples) in float16 at a common scale."""
    targets = {Path(name).name: name for name in clean}
    missing = [name for name in noisy if Path(name).name not in targets]
    if missing:
        raise InputError(f"{missing[0]}: has no clean recording of its name", "Leave it out, or add the other.")
    made = []
    for name in noisy:
        waves = [read_wave(path, RATE) for path in (name, targets[Path(name).name])]
        if len(waves[0]) != len(waves[1]) or not waves[0].any():
            raise InputError(f"{name}: is silent, or not as long as its clean recording", "Leave the pair out.")
        made.append((0.5 * np.stack(waves) / np.abs(waves).max()).astype(np.float16))
    return made


@dataclass(frozen=True)
class Recipe:
    """How mixtures are drawn; every share is in [0, 1].

    Args:
        seconds: length of a segment.
        batch: segments a step.
        snr_mean, snr_std: of the normal distribution of signal-to-noise ratios in dB.
        dereverberation: share of segments whose target is without the room.
        room: share of the other segments that sound in a room, which stays in their target.
        alone: share of segments without noise.
        silent: share of segments without speech.
        babble, coloured: share of noises that are voices, or coloured or speech-shaped noise.
        clipped, narrow: share of segments that are clipped, or of narrow band (the target too).
        paired: share of segments that are cut from pairs, where there are pairs.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    seconds: float = 2.5
    batch: int = 8
    snr_mean: float = 8.0
    snr_std: float = 6.5
    dereverberation: float = 0.25
    room: float = 0.2
    alone: float = 0.06
    silent: float = 0.02
    babble: float = 0.15
    coloured: float = 0.15
    clipped: float = 0.04
    narrow: float = 0.06
    paired: float = 0.7

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.batch < 1 or self.snr_std < 0:
            raise ValueError("seconds must be above 0, batch at least 1, snr_std at least 0")
        for name in ("dereverberation", "room", "alone", "silent", "babble", "coloured", "clipped", "narrow", "paired"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be in [0, 1]")


@dataclass(frozen=True)
class Mixtures:
    """Draws batches of mixtures from a bank.

    Calling it: mixtures(step, generator) gives {"noisy", "clean"} of shape (batch, samples) and {"task"} (batch,).
    """

    bank: Bank
    recipe: Recipe = field(default_factory=Recipe)

    def __call__(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        drawn = [self.draw(random) for _ in range(self.recipe.batch)]
        return {
            "noisy": torch.from_numpy(np.stack([m.noisy for m in drawn])),
            "clean": torch.from_numpy(np.stack([m.clean for m in drawn])),
            "task": torch.tensor([m.task for m in drawn]),
        }

    def draw(self, random: np.random.Generator) -> Mixture:
        """One mixture."""
        r, samples = self.recipe, round(self.recipe.seconds * RATE)
        if self.bank.pairs and random.random() < r.paired:
            return self._pair(samples, random)
        speech = self.speech(samples, random)
        if random.random() < r.silent:
            speech = np.zeros_like(speech)
        task = REMOVE_ROOM if random.random() < r.dereverberation else KEEP_ROOM
        target, heard = speech, speech
        if task == REMOVE_ROOM or random.random() < r.room:
            response = self.bank.rooms[int(random.integers(len(self.bank.rooms)))]
            heard, dry = through_room(speech, response.astype(np.float32), RATE)
            target = dry if task == REMOVE_ROOM else heard
        quiet = random.random() < (0.5 if task == REMOVE_ROOM else r.alone)
        snr = float(np.clip(random.normal(r.snr_mean + 6 * task, r.snr_std), -6, 35))
        noise = self.noise(samples, random)
        if not speech.any():
            noisy = heard + 0.1 * noise
        else:
            noisy = heard + (0.0 if quiet else noise_gain(heard, noise, snr, RATE)) * noise
        if random.random() < r.clipped:
            noisy = clipped(noisy, random.uniform(0.001, 0.05))
        if random.random() < r.narrow:
            low, high = random.choice([0.0, 80.0, 300.0]), random.choice([2000.0, 3400.0, 4000.0, 5500.0, 7000.0])
            noisy, target = band_limited(noisy, RATE, low, high), band_limited(target, RATE, low, high)
        return self._levelled(noisy, target, 10 ** (random.uniform(-10, 8) / 20), task)

    @staticmethod
    def _levelled(noisy: np.ndarray, clean: np.ndarray, gain: float, task: float) -> Mixture:
        """Both waves, the noisy one brought to the models' level times a gain."""
        gain *= REFERENCE / np.sqrt(np.square(noisy, dtype=np.float64).mean() + 1e-12)
        return Mixture((gain * noisy).astype(np.float32), (gain * clean).astype(np.float32), task)

    def _pair(self, samples: int, random: np.random.Generator) -> Mixture:
        """A part of a pair, with silence after it where it is short."""
        pair = self.bank.pairs[int(random.integers(len(self.bank.pairs)))]
        start = int(random.integers(max(1, pair.shape[1] - samples)))
        part = pair[:, start : start + samples].astype(np.float32)
        noisy, clean = np.pad(part, ((0, 0), (0, samples - part.shape[1])))
        return self._levelled(noisy, clean, 10 ** (random.uniform(-10, 8) / 20), KEEP_ROOM)

    def at(self, random: np.random.Generator, snr: float) -> Mixture:
        """A mixture at this signal-to-noise ratio in dB, without anything else: sounds as they are on file."""
        samples = round(self.recipe.seconds * RATE)
        waves = self.bank.speech[int(random.integers(len(self.bank.speech)))]
        wave = waves[int(random.integers(len(waves)))].astype(np.float32)
        speech = wave[:samples] if len(wave) >= samples else np.pad(wave, (0, samples - len(wave)))
        noise = self.bank.noise[int(random.integers(len(self.bank.noise)))].astype(np.float32)
        noise = looped(noise, samples, int(random.integers(len(noise))))
        return self._levelled(speech + noise_gain(speech, noise, snr, RATE) * noise, speech, 1.0, KEEP_ROOM)

    def speech(self, samples: int, random: np.random.Generator) -> np.ndarray:
        """One speaker for so many samples: a part of one utterance, or several with pauses between them."""
        waves = self.bank.speech[int(random.integers(len(self.bank.speech)))]
        speed = random.choice([0.9, 0.95, 1.0, 1.0, 1.0, 1.05, 1.1])
        needed = int(samples * speed) + 16
        wave = waves[int(random.integers(len(waves)))].astype(np.float32)
        while len(wave) < needed:
            pause = np.zeros(int(random.uniform(0.05, 0.8) * RATE), np.float32)
            more = waves[int(random.integers(len(waves)))].astype(np.float32)
            wave = np.concatenate([wave, pause, more] if random.random() < 0.5 else [more, pause, wave])
        for _ in range(5):  # a part that holds more than a pause
            start = int(random.integers(len(wave) - needed + 1))
            part = wave[start : start + needed]
            if np.square(part).mean() > 0.1 * np.square(wave).mean():
                break
        return equalised(_at_speed(part, speed)[:samples], random, 0.15)

    def noise(self, samples: int, random: np.random.Generator) -> np.ndarray:
        """One to three noises of unit RMS together, (samples,)."""
        total = np.zeros(samples, np.float32)
        for number in range(1 + int(random.choice(3, p=[0.65, 0.25, 0.1]))):
            part = self._one_noise(samples, random)
            part = part / np.sqrt(np.square(part, dtype=np.float64).mean() + 1e-20)
            total += np.float32(1.0 if number == 0 else 10 ** (random.uniform(-15, 0) / 20)) * part.astype(np.float32)
        return total / np.float32(np.sqrt(np.square(total, dtype=np.float64).mean() + 1e-20))

    def _one_noise(self, samples: int, random: np.random.Generator) -> np.ndarray:
        kind = random.random()
        if kind < self.recipe.babble:
            voices = [self.speech(samples, random) for _ in range(int(random.integers(3, 8)))]
            return babble(voices, samples, random)
        if kind < self.recipe.babble + self.recipe.coloured:
            if random.random() < 0.5:
                return coloured_noise(samples, random.uniform(0, 2), random)
            return speech_shaped_noise(self.speech(samples, random), samples, random)
        wave = self.bank.noise[int(random.integers(len(self.bank.noise)))]
        speed = random.choice([0.8, 0.9, 1.0, 1.0, 1.1, 1.25])
        needed = int(samples * speed) + 16
        part = looped(wave, needed, int(random.integers(len(wave)))).astype(np.float32)
        return equalised(_at_speed(part, speed)[:samples], random, 0.375)


def equalised(wave: np.ndarray, random: np.random.Generator, depth: float) -> np.ndarray:
    """The wave under a random gentle filter (1 + r1 z^-1 + r2 z^-2) / (1 + r3 z^-1 + r4 z^-2), |r| <= depth < 1/2.

    Source: Valin (2018), A hybrid DSP/deep learning approach to real-time full-band speech enhancement,
    arXiv:1709.08243, eq. 7.
    """
    r = random.uniform(-depth, depth, 4)
    return signal.lfilter([1, r[0], r[1]], [1, r[2], r[3]], wave).astype(np.float32)


def _at_speed(wave: np.ndarray, speed: float) -> np.ndarray:
    """Played faster (above 1) or slower, pitch and all."""
    if speed == 1.0:
        return wave
    return signal.resample_poly(wave, 20, round(20 * speed), window=("kaiser", 5.0)).astype(np.float32)

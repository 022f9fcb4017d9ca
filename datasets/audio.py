"""Sound files: any rate, channels and sample format, read in blocks, and written as they came."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ornstein.core.errors import InputError, OrnsteinError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

CHANNELS = 32
"""The most channels that count as a recording."""

SHORTEST = 0.032
"""Seconds below which there is nothing to hear: one window of a spectrogram."""

BLOCK = 1.0
"""Seconds that are held in memory at once."""


@dataclass(frozen=True)
class Format:
    """How sound is stored.

    Args:
        rate: samples a second.
        channels: at least 1.
        subtype: the sample format, as libsndfile calls it: PCM_16, PCM_24, FLOAT, VORBIS, ...
    """

    rate: int
    channels: int
    subtype: str = "PCM_16"

    def subtype_for(self, suffix: str) -> str:
        """The subtype in a file of this suffix: the same where it can be, else the nearest that loses nothing."""
        import soundfile

        container = suffix.removeprefix(".").upper()
        if self.subtype in soundfile.available_subtypes(container):
            return self.subtype
        if container in ("WAV", "FLAC"):
            lossy = self.subtype in ("VORBIS", "OPUS") or self.subtype.startswith("MPEG")
            return "PCM_16" if lossy or self.subtype in ("PCM_S8", "PCM_U8", "ULAW", "ALAW") else "PCM_24"
        return str(soundfile.default_subtype(container))


@dataclass(frozen=True)
class Sound:
    """A recording on disk or in memory, that can be read more than once.

    Args:
        format: of its samples.
        samples: of each channel.
        source: the file, or an array (channels, samples).
    """

    format: Format
    samples: int
    source: "Path | np.ndarray"

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return str(self.source) if isinstance(self.source, Path) else "the sound"

    def blocks(self, seconds: float = BLOCK) -> Iterator[np.ndarray]:
        """Its samples in order, each block (channels, samples) in float32, the last one shorter.

        Raises:
            InputError: for a file that is damaged, cut off, or holds NaN.
        """
        length, read = max(1, round(seconds * self.format.rate)), 0
        for block in self._raw(length):
            if not np.isfinite(block).all():
                raise InputError(f"{self.name}: holds NaN or infinite samples", "repair the file, or leave it out")
            read += block.shape[1]
            yield block
        if read < self.samples:
            raise InputError(
                f"{self.name}: ends after {read} of its {self.samples} samples", "the file is cut off: copy it again"
            )

    def _raw(self, length: int) -> Iterator[np.ndarray]:
        if not isinstance(self.source, Path):
            for start in range(0, self.samples, length):
                yield np.asarray(self.source[:, start : start + length], np.float32)
            return
        import soundfile

        try:
            with soundfile.SoundFile(self.source) as file:
                while len(data := file.read(length, dtype="float32", always_2d=True)):
                    yield np.ascontiguousarray(data.T)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{self.name}: cannot be read to its end: {_reason(error)}", "copy the file again"
            ) from None


def open_sound(sound: Any) -> Sound:
    """A recording from a file, a pair (array, rate), or a `Sound`.

    Args:
        sound: a path; or an array (samples,) or (channels, samples), numpy or torch, with its rate in Hz.

    Raises:
        InputError: for a file that is none of sound, more channels than 32, less than 32 ms.
    """
    if isinstance(sound, Sound):
        return sound
    if isinstance(sound, (str, Path)):
        opened = _open_file(Path(sound))
    else:
        try:
            array, rate = sound
            data = np.atleast_2d(np.asarray(array.detach().cpu() if hasattr(array, "detach") else array))
            opened = Sound(Format(int(rate), data.shape[0], "FLOAT"), data.shape[1], data)
        except (TypeError, ValueError):
            raise InputError(
                "the sound is neither a file nor (samples, rate)", "pass a path, or (array, rate)"
            ) from None
        if data.ndim != 2 or data.dtype.kind not in "fiu" or opened.format.rate < 1:
            raise InputError(
                f"the sound is {data.dtype} of shape {data.shape} at {rate} Hz", "wanted: numbers (channels, samples)"
            )
        if data.dtype.kind != "f":
            opened = Sound(
                opened.format, opened.samples, (data / 2.0 ** (8 * data.dtype.itemsize - 1)).astype(np.float32)
            )
    if opened.format.channels > CHANNELS:
        raise InputError(
            f"{opened.name}: {opened.format.channels} channels, at most {CHANNELS} are a recording", "split the file"
        )
    if opened.samples < SHORTEST * opened.format.rate:
        raise InputError(
            f"{opened.name}: {opened.samples} samples at {opened.format.rate} Hz are too short to hear",
            f"at least {SHORTEST * 1000:.0f} ms are needed",
        )
    return opened


def _open_file(path: Path) -> Sound:
    import soundfile

    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: is empty", "copy the file again")
        with soundfile.SoundFile(path) as file:
            return Sound(Format(file.samplerate, file.channels, file.subtype), file.frames, path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "is the name right?") from None
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path}: not readable as sound: {_reason(error)}", f"files of {', '.join(SUFFIXES)} are read"
        ) from None


@contextlib.contextmanager
def sound_writer(path: Path, form: Format) -> "Iterator[Any]":
    """A function that takes blocks (channels, samples) and appends them to a new file; its suffix is the container.

    Raises:
        OrnsteinError: where the file cannot be written.
    """
    import soundfile

    suffix = path.suffix.lower()
    try:
        with soundfile.SoundFile(
            path, "w", form.rate, form.channels, form.subtype_for(suffix), format=suffix.removeprefix(".").upper()
        ) as file:
            yield lambda block: file.write(np.ascontiguousarray(block.T))
    except soundfile.LibsndfileError as error:
        raise OrnsteinError(
            f"{path.name}: cannot be written at {form.rate} Hz with {form.channels} channels: {_reason(error)}",
            "write .wav or .flac",
        ) from None


def read_wave(path: str | Path, rate: int) -> np.ndarray:
    """The first channel of a file at this rate in Hz: (samples,), float32.

    Raises:
        InputError: where the file is not readable sound.
    """
    sound = open_sound(path)
    return resampled(np.concatenate([block[0] for block in sound.blocks(60.0)]), sound.format.rate, rate)


def resampled(wave: np.ndarray, found: int, wanted: int) -> np.ndarray:
    """A wave (..., samples) of one rate in Hz at another: ceil(samples * wanted / found) samples, without delay."""
    if found == wanted:
        return wave
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(np.ascontiguousarray(wave)), found, wanted, lowpass_filter_width=32).numpy()


def _reason(error: Exception) -> str:
    """What a library says, in one line without the file's name."""
    return " ".join(str(error).split()).rpartition("': ")[2] or type(error).__name__

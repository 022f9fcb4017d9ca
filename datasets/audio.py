"""Sound files: any rate, channels and sample format, read whole or in blocks, written as they came."""

from pathlib import Path

import numpy as np

from ornstein.core.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def read_wave(path: str | Path, rate: int) -> np.ndarray:
    """The first channel of a file at this rate in Hz: (samples,), float32.

    Raises:
        InputError: where the file is not readable sound.
    """
    import soundfile

    try:
        data, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read as sound: {error}", "Repair it, or leave it out.") from None
    return resampled(np.ascontiguousarray(data[:, 0]), found, rate)


def resampled(wave: np.ndarray, found: int, wanted: int) -> np.ndarray:
    """A wave (..., samples) of one rate in Hz at another."""
    if found == wanted:
        return wave
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(wave), found, wanted, lowpass_filter_width=32).numpy()

"""Whether a recording holds its pitches as music does: speech never keeps one for long."""

import numpy as np

LAG = 6
"""Hops between the frames that are compared: a fifth of a second."""
BAND = (50.0, 2000.0)
"""Hz, where the harmonics of speech and music are apart."""
QUIET = 1e-3
"""Of the loudest frame's power: quieter frames are not compared."""


class Steadiness:
    """The median correlation of a recording's fine spectrum with itself a fifth of a second later, while it is loud.

    Fine is what remains of the log-magnitudes of 128 ms when their mean over 240 Hz is taken away: the harmonics, without
    the vowel. Speech glides and pauses, so that little remains of them; notes and hums stay.

    Blocks of (channels, samples) are given to `add` in order, of a fifth of a second at least; `value` is what is known so
    far, None while nothing is.
    """

    def __init__(self) -> None:
        self._pairs: list[np.ndarray] = []  # (2, frames): correlation and the weaker frame's power

    def add(self, block: np.ndarray, rate: int) -> None:
        """Hears a block (channels, samples)."""
        size, hop = round(0.128 * rate), round(0.032 * rate)
        mono = block.mean(0)
        if len(mono) < size + LAG * hop or not mono.any():
            return
        frames = np.lib.stride_tricks.sliding_window_view(mono, size)[::hop] * np.hanning(size).astype(mono.dtype)
        low, high = (round(f * size / rate) for f in BAND)
        magnitudes = np.abs(np.fft.rfft(frames, axis=1))[:, low:high]
        log = np.log(magnitudes + QUIET * magnitudes.max())
        width = max(3, round(240 * size / rate) | 1)
        inside = np.convolve(np.ones(log.shape[1]), np.ones(width), "same")
        fine = log - np.stack([np.convolve(row, np.ones(width), "same") for row in log]) / inside
        fine -= fine.mean(1, keepdims=True)
        norm, power = np.linalg.norm(fine, axis=1), np.square(magnitudes).sum(1)
        alike = (fine[LAG:] * fine[:-LAG]).sum(1) / (norm[LAG:] * norm[:-LAG] + 1e-9)
        self._pairs.append(np.stack([alike, np.minimum(power[LAG:], power[:-LAG])]))

    @property
    def value(self) -> float | None:
        if not self._pairs:
            return None
        alike, power = np.concatenate(self._pairs, axis=1)
        return float(np.median(alike[power >= QUIET * power.max()]))

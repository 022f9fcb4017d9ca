"""What happens to speech before it is heard: noise at a level, rooms, clipping, narrow bands; and the target that stays."""

from collections.abc import Sequence

import numpy as np
from scipy import signal

Array = np.ndarray

MARGIN = 15.9
"""Decibels between the active level and the threshold of activity (ITU-T P.56, section 6)."""

DIRECT = 0.0025
"""Seconds after the direct peak of an impulse response that still count as direct sound."""


def active_level(wave: Array, rate: int) -> tuple[float, float]:
    """The active speech level in dB re 1 (mean square while speech is active), and the share of time that it is.

    A two-fold smoothed envelope (30 ms) counts as active where it was above a threshold within the last 200 ms; the
    threshold is the one that lies 15.9 dB below the level found with it.

    Args:
        wave: (samples,); silence has level -inf and activity 0.
        rate: in Hz.

    Source: ITU-T Recommendation P.56 (2011), Objective measurement of active speech level, method B.
    """
    wave = np.asarray(wave, np.float64)
    power = float(np.square(wave).sum())
    if power == 0 or not len(wave):
        return -np.inf, 0.0
    g = np.exp(-1 / (0.03 * rate))
    envelope = signal.lfilter([(1 - g) ** 2], [1, -2 * g, g**2], np.abs(wave))
    hangover = int(np.ceil(0.2 * rate))
    # Thresholds relative to the wave's own peak, so that nothing depends on its scale.
    thresholds = envelope.max() * 2.0 ** -np.arange(0.5, 16)
    place = np.arange(len(wave))
    levels, gaps = [], []
    for threshold in thresholds:  # falling: activity, and with it the gap between level and threshold, grows
        last = np.maximum.accumulate(np.where(envelope >= threshold, place, -hangover - 1))
        active = int((place - last <= hangover).sum())
        levels.append(10 * np.log10(power / max(active, 1)))
        gaps.append(levels[-1] - 20 * np.log10(threshold))
        if gaps[-1] >= MARGIN:
            break
    level = float(np.interp(MARGIN, gaps, levels))
    return level, float(min(1.0, power / len(wave) / 10 ** (level / 10)))


def noise_gain(speech: Array, noise: Array, snr: float, rate: int) -> float:
    """The factor on `noise` that puts its RMS level `snr` dB below the active level of `speech`; 0 where one is silent."""
    level, _ = active_level(speech, rate)
    power = float(np.square(noise, dtype=np.float64).mean()) if len(noise) else 0.0
    if not np.isfinite(level) or power == 0:
        return 0.0
    return float(10 ** ((level - snr) / 20) / np.sqrt(power))


def looped(wave: Array, samples: int, start: int = 0) -> Array:
    """`samples` of a wave (samples,) from `start` on, from its beginning again where it ends."""
    return np.take(wave, np.arange(start, start + samples), mode="wrap")


def direct_peak(response: Array) -> int:
    """The sample at which an impulse response (samples,) is largest: the direct sound."""
    return int(np.abs(response).argmax())


def direct_part(response: Array, rate: int) -> Array:
    """The response up to 2.5 ms after its direct peak; the same delay and gain as the whole."""
    return response[: direct_peak(response) + round(DIRECT * rate) + 1]


def through_room(speech: Array, response: Array, rate: int) -> tuple[Array, Array]:
    """Speech in a room and the same without its reverberation, both (samples,), the direct sound without delay.

    Args:
        speech: (samples,).
        response: the room's impulse response (samples,) at the same rate; its direct peak is scaled to 1.
        rate: in Hz.
    """
    peak = direct_peak(response)
    response = response / response[peak]

    def heard(part: Array) -> Array:
        return signal.oaconvolve(speech, part)[peak : peak + len(speech)].astype(np.float32)

    return heard(response), heard(direct_part(response, rate))


def clipped(wave: Array, share: float) -> Array:
    """The wave limited to the level that this share of its samples, in [0, 1), exceeds."""
    limit = float(np.quantile(np.abs(wave), 1 - share))
    return np.clip(wave, -limit, limit)


def band_limited(wave: Array, rate: int, low: float, high: float) -> Array:
    """The wave (samples,) between two frequencies in Hz (low 0: no lower limit), without delay."""
    kind = "lowpass" if low <= 0 else "bandpass"
    edges = high if low <= 0 else (low, high)
    return signal.sosfiltfilt(signal.butter(4, edges, kind, fs=rate, output="sos"), wave).astype(np.float32)


def coloured_noise(samples: int, exponent: float, generator: np.random.Generator) -> Array:
    """Gaussian noise of unit RMS whose power falls as frequency^-exponent: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    spectrum *= np.maximum(np.arange(len(spectrum)), max(1.0, 0.001 * samples)) ** (-exponent / 2)
    wave = np.fft.irfft(spectrum, samples)
    return (wave / np.sqrt(np.square(wave).mean())).astype(np.float32)


def speech_shaped_noise(speech: Array, samples: int, generator: np.random.Generator) -> Array:
    """Gaussian noise with the long-term spectrum of `speech` (samples,), of unit RMS."""
    n = 512
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(speech, (0, n)), n)[:: n // 2]
    gain = np.sqrt(np.square(np.abs(np.fft.rfft(frames * np.hanning(n)))).mean(0))
    taps = signal.firwin2(n + 1, np.linspace(0, 1, len(gain)), gain)
    wave = signal.oaconvolve(generator.standard_normal(samples + n), taps)[n : n + samples]
    return (wave / np.sqrt(np.square(wave).mean() + 1e-20)).astype(np.float32)


def babble(voices: Sequence[Array], samples: int, generator: np.random.Generator) -> Array:
    """Several voices at once, each of unit RMS, looped from a random place: (samples,), of unit RMS."""
    total = np.zeros(samples, np.float32)
    for voice in voices:
        part = looped(voice, samples, int(generator.integers(len(voice))))
        total += part / np.sqrt(np.square(part, dtype=np.float64).mean() + 1e-20)
    return total / np.sqrt(np.square(total, dtype=np.float64).mean() + 1e-20)

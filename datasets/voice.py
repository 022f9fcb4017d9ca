"""A synthetic voice: pulses through moving formants, and noise for consonants. For demonstrations; it says no words."""

import numpy as np
from scipy import signal

Array = np.ndarray

FRAME = 0.005  # seconds between two values of what moves

VOWELS = {
    "i": (270, 2290, 3010), "ih": (390, 1990, 2550), "eh": (530, 1840, 2480), "ae": (660, 1720, 2410),
    "a": (730, 1090, 2440), "o": (570, 840, 2410), "uh": (440, 1020, 2240), "u": (300, 870, 2240),
    "v": (640, 1190, 2390), "er": (490, 1350, 1690),
}  # fmt: skip
"""The first three formants of men's vowels in Hz. Source: Peterson and Barney (1952), Control methods used in a study of the
vowels, JASA 24, 175, table II."""

BANDWIDTHS = (60.0, 90.0, 150.0, 250.0)
FOURTH = 3500.0

CONSONANTS = {
    "s": (0.0, 0.10, 5500.0), "sh": (0.0, 0.12, 3000.0), "f": (0.0, 0.04, 6500.0), "z": (0.4, 0.06, 5500.0),
    "m": (0.35, 0.0, 3000.0), "n": (0.35, 0.0, 3000.0), "l": (0.6, 0.0, 3000.0), "t": (0.0, 0.15, 4500.0), "-": (1.0, 0.0, 3000.0),
}  # fmt: skip
"""How much voice, how much noise, and around what frequency. Source: after Klatt (1980), Software for a cascade/parallel
formant synthesizer, JASA 67, 971."""


def synthetic_voice(seconds: float = 6.0, rate: int = 16_000, seed: int = 0, pitch: float = 115.0) -> Array:
    """Syllables that nobody would understand, with the pitch, formants, noises and pauses of speech.

    Args:
        seconds: of the result, above 0.
        rate: samples a second, at least 16,000.
        seed: of syllables, lengths and noise.
        pitch: in the middle of a phrase, in Hz.

    Returns: (samples,) float32, its peak at 0.5.

    Source: Fant (1960), Acoustic theory of speech production: a source and a filter.
    """
    random = np.random.default_rng(seed)
    tracks = _tracks(random, max(1, round(seconds / FRAME)), pitch)
    hop = round(rate * FRAME)
    fine = {name: np.repeat(values, hop) for name, values in tracks.items() if name in ("voice", "noise", "pitch")}
    fine = {name: signal.filtfilt(*signal.butter(1, 40, fs=rate), values) for name, values in fine.items()}
    phase = np.cumsum(fine["pitch"] * (1 + 0.01 * random.standard_normal(len(fine["pitch"])))) / rate
    voiced = np.diff(_glottal_flow(phase % 1.0), prepend=0.0) * rate / 2000
    wave = fine["voice"] * (voiced + 0.02 * random.standard_normal(len(voiced)))
    formants = [tracks["f1"], tracks["f2"], tracks["f3"], np.full(len(tracks["f1"]), FOURTH)]
    for centres, width in zip(formants, BANDWIDTHS, strict=True):
        wave = _resonance(wave, centres, width, hop, rate)
    # Noise made at the teeth has no low tones: its differences.
    hiss = _resonance(np.diff(random.standard_normal(len(wave) + 1)), tracks["hiss"], 1500.0, hop, rate)
    wave = wave / max(float(np.abs(wave).max()), 1e-12) + fine["noise"] * hiss / float(hiss.std())
    wave = wave[: round(seconds * rate)]
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def _tracks(random: np.random.Generator, frames: int, pitch: float) -> dict[str, Array]:
    """What moves, a value every `FRAME`: voice and noise in [0, 1], pitch, formants and the noise's centre in Hz."""
    rows: list[tuple[float, ...]] = []
    phrase, left = 0, 0
    while len(rows) < frames + 40:
        if left == 0:  # a pause, and a new phrase
            rows += [(0.0, 0.0, pitch, 500.0, 1500.0, 2500.0, 3000.0)] * int(random.integers(40, 70))
            phrase = left = int(random.integers(5, 10))
        voice, noise, hiss = CONSONANTS[str(random.choice(list(CONSONANTS)))]
        vowel = VOWELS[str(random.choice(list(VOWELS)))]
        falling = pitch * (1.15 - 0.35 * (1 - left / phrase)) * (1 + 0.06 * random.standard_normal())
        loud = 0.7 + 0.3 * random.random()
        rows += [(voice * loud, noise * loud, falling, *vowel, hiss)] * int(random.integers(12, 22))
        rows += [(loud, 0.0, falling, *vowel, hiss)] * int(random.integers(18, 42))
        left -= 1
    names = ("voice", "noise", "pitch", "f1", "f2", "f3", "hiss")
    table = np.array(rows[: frames + 40]).T
    # Tongue and larynx take some 60 ms from one place to another.
    window = np.hanning(15)[1:-1] / np.hanning(15)[1:-1].sum()
    smooth = {n: np.convolve(np.pad(v, 6, mode="edge"), window, "valid") for n, v in zip(names, table, strict=True)}
    # The first pause is cut short.
    return {name: values[30 : 30 + frames] for name, values in smooth.items()}


def _glottal_flow(phase: Array) -> Array:
    """Air through the glottis over a period, phase in [0, 1). Source: Rosenberg (1971), JASA 49, 583, pulse C."""
    rising = 0.5 * (1 - np.cos(np.pi * phase / 0.4))
    falling = np.cos(np.pi / 2 * (phase - 0.4) / 0.16)
    return np.where(phase < 0.4, rising, np.where(phase < 0.56, falling, 0.0))


def _resonance(wave: Array, centres: Array, width: float, hop: int, rate: int) -> Array:
    """Two poles at a frequency that moves every `hop` samples, gain 1 at 0 Hz. Source: Klatt (1980), eq. 1 and 2."""
    out, state = np.empty(len(centres) * hop), np.zeros(2)
    for i, centre in enumerate(centres):
        c = -np.exp(-2 * np.pi * width / rate)
        b = 2 * np.exp(-np.pi * width / rate) * np.cos(2 * np.pi * centre / rate)
        part = slice(i * hop, (i + 1) * hop)
        out[part], state = signal.lfilter([1 - b - c], [1, -b, -c], wave[part], zi=state)
    return out

"""A noisy recording simulated from clean speech, and the target that belongs to it."""

from typing import TYPE_CHECKING

import numpy as np

from ornstein.core.errors import InputError
from ornstein.datasets.audio import resampled
from ornstein.datasets.mixing import (
    active_level,
    band_limited,
    clipped,
    direct_peak,
    looped,
    noise_gain,
    speech_shaped_noise,
    through_room,
)
from ornstein.datasets.rooms import simulate_room

if TYPE_CHECKING:
    from ornstein.datasets.audio import Sound

Array = np.ndarray


def simulate_recording(
    clean: "Sound",
    noise: "Sound | None" = None,
    room: "Sound | None" = None,
    *,
    snr: float = 5.0,
    reverberation: float | None = None,
    clip: float = 0.0,
    band: float | None = None,
    seed: int = 0,
) -> tuple[Array, Array]:
    """What is heard and what should come of it, both (channels, samples) in float32, at most 1 in size.

    Args:
        clean: the speech; every channel goes through the same room and gets the same noise.
        noise: from a random place on, looped; speech-shaped noise where it is None.
        room: an impulse response; the direct sound keeps its time and gain.
        snr: dB between the active speech level of the first channel (as heard in the room) and the noise's RMS level.
        reverberation: of a simulated room, in s, where it is not None.
        clip: share of the samples that are clipped, in [0, 0.5].
        band: upper edge of what is left, in Hz, of the target as well; None for all.
        seed: of the noise's place, of the shaped noise and of the simulated room.

    Raises:
        InputError: for speech that is silent, or a band that is not below half the rate.
    """
    rate, random = clean.format.rate, np.random.default_rng(seed)
    speech = np.concatenate(list(clean.blocks(60.0)), axis=1)
    if not np.isfinite(active_level(speech[0], rate)[0]):
        raise InputError(f"{clean.name}: is silent", "give a recording of speech")
    if band is not None and band >= rate / 2:
        raise InputError(f"{clean.name}: has nothing above {rate / 2:g} Hz, --band is {band:g}", "choose a lower band")
    heard = target = speech
    if room is not None or reverberation is not None:
        response = _wave(room, rate) if room is not None else simulate_room(random, rate, reverberation=reverberation)
        if not response[direct_peak(response)]:
            raise InputError(f"{room.name if room else 'the room'}: is silent", "give an impulse response")
        pairs = [through_room(channel, response, rate) for channel in speech]
        heard, target = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
    if noise is None:
        added = speech_shaped_noise(speech[0], speech.shape[1], random)
    else:
        wave = _wave(noise, rate)
        added = looped(wave, speech.shape[1], int(random.integers(len(wave))))
    gain = noise_gain(heard[0], added, snr, rate)
    if gain == 0:
        raise InputError(f"{noise.name if noise else 'the noise'}: is silent", "give a recording of noise")
    noisy = heard + np.float32(gain) * added.astype(np.float32)
    if clip:
        noisy = np.stack([clipped(channel, clip) for channel in noisy])
    if band is not None:
        noisy, target = (np.stack([band_limited(c, rate, 0, band) for c in wave]) for wave in (noisy, target))
    # One factor for both, so that neither clips and they stay comparable.
    scale = min(1.0, 0.99 / max(float(np.abs(noisy).max()), float(np.abs(target).max()), 1e-9))
    return (scale * noisy).astype(np.float32), (scale * target).astype(np.float32)


def _wave(sound: "Sound", rate: int) -> Array:
    """The first channel of a recording at this rate: (samples,)."""
    return resampled(np.concatenate([block[0] for block in sound.blocks(60.0)]), sound.format.rate, rate)

"""Simulated rooms: impulse responses whose early part comes from image sources and whose tail decays as noise."""

import numpy as np

EARLY = 0.05
"""Seconds after the direct sound up to which reflections stand alone; later they have merged into decaying noise."""


def simulate_room(
    generator: np.random.Generator, rate: int, *, reverberation: float | None = None, order: int = 8
) -> np.ndarray:
    """An impulse response (samples,) between a random talker and a random microphone in a random box of a room.

    Args:
        generator: draws room, places and walls.
        rate: in Hz.
        reverberation: the time T60 in s; drawn from 0.15 to 1.0 where it is None.
        order: reflections that are followed one by one.

    Source: Allen and Berkley (1979), Image method for efficiently simulating small-room acoustics, as in
    pyroomacoustics (Scheibler et al., 2018, arXiv:1710.04196); the tail after Polack (1988).
    """
    import pyroomacoustics

    size = generator.uniform([2.5, 2.5, 2.2], [10.0, 8.0, 4.0])
    if reverberation is None:
        reverberation = float(np.exp(generator.uniform(np.log(0.15), np.log(1.0))))
    try:
        absorption, _ = pyroomacoustics.inverse_sabine(reverberation, size)
    except ValueError:  # too dry for so large a room: walls that take everything
        absorption = 0.99
    room = pyroomacoustics.ShoeBox(
        size, fs=rate, materials=pyroomacoustics.Material(float(np.clip(absorption, 0.02, 0.99))), max_order=order
    )
    microphone = generator.uniform(0.5, size - 0.5)
    for _ in range(100):
        talker = generator.uniform(0.4, size - 0.4)
        if np.linalg.norm(talker - microphone) > 0.3:
            break
    room.add_source(talker)
    room.add_microphone(microphone)
    room.compute_rir()
    images = np.asarray(room.rir[0][0], np.float64)
    peak = int(np.abs(images).argmax())
    samples = peak + int(rate * (reverberation + EARLY))
    images = np.pad(images, (0, max(0, samples - len(images))))[:samples]
    time = np.arange(samples) / rate
    tail = generator.standard_normal(samples) * np.exp(-3 * np.log(10) * time / reverberation)
    # The tail takes over at the end of the early part, with the energy that the reflections have there.
    end = peak + int(EARLY * rate)
    around = slice(max(peak + 1, end - int(0.02 * rate)), end)
    ratio = np.sqrt(np.square(images[around]).mean() / (np.square(tail[around]).mean() + 1e-30))
    fade = np.clip((np.arange(samples) - around.start) / max(1, end - around.start), 0, 1)
    return (np.sqrt(1 - fade) * images + np.sqrt(fade) * ratio * tail).astype(np.float32)

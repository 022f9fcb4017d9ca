"""Music is told from speech by pitches that stay."""

import numpy as np
import pytest

from ornstein.datasets.voice import synthetic_voice
from ornstein.domains.speech.steadiness import Steadiness
from ornstein.pipelines.speech_results import STEADY


def melody(rate, seconds=8, seed=0):
    """Chords of three notes of eight harmonics, half a second each, that fade."""
    random, time = np.random.default_rng(seed), np.arange(rate // 2) / rate
    chords = []
    for _ in range(2 * seconds):
        notes = 220 * 2 ** (random.integers(0, 13, 3) / 12)
        waves = [np.sin(2 * np.pi * f * k * time) / k for f in notes for k in range(1, 9) if f * k < rate / 2]
        chords.append(np.exp(-2 * time) * np.sum(waves, axis=0))
    return 0.1 * np.concatenate(chords).astype(np.float32)


def heard(wave, rate, blocks=1):
    steadiness = Steadiness()
    for block in np.array_split(wave, blocks):
        steadiness.add(block[None], rate)
    return steadiness.value


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_music_is_above_and_a_voice_below(rate):
    assert heard(melody(rate), rate) > STEADY + 0.05
    assert heard(synthetic_voice(8.0, rate), rate) < STEADY - 0.05
    assert heard(np.random.default_rng(0).standard_normal(8 * rate).astype(np.float32), rate) < 0.1


def test_level_and_blocks_hardly_matter():
    wave = melody(16_000)
    assert heard(1e-3 * wave, 16_000) == pytest.approx(heard(wave, 16_000), abs=1e-3)
    assert heard(wave, 16_000, blocks=3) == pytest.approx(heard(wave, 16_000), abs=0.1)


def test_silence_and_a_click_have_none():
    assert heard(np.zeros(16_000, np.float32), 16_000) is None
    assert heard(np.ones(10, np.float32), 16_000) is None

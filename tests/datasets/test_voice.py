"""The synthetic voice has what speech has: pitch, formants, hisses, pauses."""

import numpy as np
import pytest

from ornstein.datasets.mixing import active_level
from ornstein.datasets.voice import CONSONANTS, VOWELS, synthetic_voice


def test_voice_is_its_seeds_and_as_long_as_asked():
    wave = synthetic_voice(2.013, 16_000, seed=4)
    assert wave.shape == (round(2.013 * 16_000),) and wave.dtype == np.float32
    assert np.abs(wave).max() == pytest.approx(0.5)
    assert np.array_equal(wave, synthetic_voice(2.013, 16_000, seed=4))
    assert not np.array_equal(wave, synthetic_voice(2.013, 16_000, seed=5))


def test_voice_pauses_as_speech_does():
    wave = synthetic_voice(10.0)
    _, activity = active_level(wave, 16_000)
    assert 0.5 < activity < 0.98


@pytest.mark.parametrize("pitch", [110.0, 220.0])
def test_pitch_is_near_the_one_asked_for(pitch):
    wave = synthetic_voice(8.0, pitch=pitch).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::512]
    loud = frames[np.square(frames).mean(1) > 0.1 * np.square(frames).mean(1).max()]
    spectrum = np.abs(np.fft.rfft(loud * np.hanning(1024), 2048)) ** 2
    correlation = np.fft.irfft(spectrum)[:, 16_000 // 400 : 16_000 // 70]
    found = 16_000 / (correlation.argmax(1) + 16_000 // 400)
    # A phrase falls from 1.15 to .8 of it, a syllable is off by 6 %.
    assert np.median(found) == pytest.approx(pitch, rel=0.2)


@pytest.mark.parametrize("vowel", ["a", "i", "u"])
def test_vowels_have_their_formants(monkeypatch, vowel):
    # Only this vowel and no consonants.
    for name in list(VOWELS):
        monkeypatch.setitem(VOWELS, name, VOWELS[vowel])
    for name in list(CONSONANTS):
        monkeypatch.setitem(CONSONANTS, name, CONSONANTS["-"])
    wave = synthetic_voice(6.0, pitch=70.0).astype(np.float64)
    power = np.square(
        np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(wave, 2048)[::1024] * np.hanning(2048)))
    )
    smooth = np.convolve(np.log(power.mean(0)), np.hanning(17) / np.hanning(17).sum(), "same")
    hertz = np.arange(len(smooth)) * 16_000 / 2048
    first = VOWELS[vowel][0]
    near = (hertz > 150) & (hertz < 950)
    # Harmonics 70 Hz apart sample the resonance.
    assert hertz[near][smooth[near].argmax()] == pytest.approx(first, abs=80)

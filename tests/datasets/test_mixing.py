"""Levels, rooms and noises are what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ornstein.datasets.mixing import (
    active_level,
    babble,
    band_limited,
    clipped,
    coloured_noise,
    direct_part,
    looped,
    noise_gain,
    speech_shaped_noise,
    through_room,
)
from ornstein.datasets.rooms import simulate_room

RATE = 16_000


def bursts(on: float, off: float, repeats: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((repeats, int((on + off) * RATE)))
    noise[:, int(on * RATE) :] *= 1e-4
    return 0.1 * noise.ravel()


def test_active_level_counts_only_the_time_of_speech():
    wave = bursts(4.0, 4.0, 4)
    level, activity = active_level(wave, RATE)
    # Each burst is followed by 0.2 s of hangover and the envelope's decay: 6 % of 8 s, at most 0.4 dB.
    assert level == pytest.approx(-20.0, abs=0.4)
    assert activity == pytest.approx(0.53, abs=0.03)
    assert 10 * np.log10(np.square(wave).mean()) == pytest.approx(-23.0, abs=0.1)


@given(gain=st.floats(1e-4, 1e3))
@settings(max_examples=10, deadline=None)
def test_active_level_follows_the_gain(gain):
    wave = bursts(0.5, 0.5, 4)
    level, activity = active_level(wave, RATE)
    scaled, same = active_level(gain * wave, RATE)
    assert scaled - level == pytest.approx(20 * np.log10(gain), abs=1e-6)
    assert same == pytest.approx(activity, rel=1e-6)


def test_silence_has_no_level():
    assert active_level(np.zeros(RATE), RATE) == (-np.inf, 0.0)
    assert noise_gain(np.zeros(RATE), np.ones(RATE), 5, RATE) == 0


@given(snr=st.floats(-10, 30), seed=st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_noise_lies_below_the_active_speech_by_the_ratio(snr, seed):
    speech, noise = bursts(1.0, 1.0, 3, seed), np.random.default_rng(seed).standard_normal(5000)
    gain = noise_gain(speech, noise, snr, RATE)
    level = 20 * np.log10(gain) + 10 * np.log10(np.square(noise).mean())
    assert active_level(speech, RATE)[0] - level == pytest.approx(snr, abs=1e-6)


def test_direct_part_ends_two_and_a_half_milliseconds_after_the_peak():
    response = np.zeros(1000)
    response[[100, 139, 141]] = -1.0, 0.5, 0.5
    part = direct_part(response, RATE)
    assert len(part) == 141
    assert np.count_nonzero(part) == 2


def test_speech_in_a_room_has_its_direct_sound_in_place_and_at_its_gain():
    speech = np.random.default_rng(0).standard_normal(RATE)
    response = np.zeros(4000)
    response[[300, 2300]] = -0.2, 0.1  # the direct sound late, soft and of turned sign, and one echo
    heard, dry = through_room(speech, response, RATE)
    np.testing.assert_allclose(dry, speech, atol=1e-6)
    np.testing.assert_allclose(heard[2000:], speech[2000:] - 0.5 * speech[:-2000], atol=1e-5)


def test_simulated_rooms_decay_with_their_reverberation_time():
    times = []
    for seed in range(6):
        response = simulate_room(np.random.default_rng(seed), RATE, reverberation=0.5)
        left = 10 * np.log10(np.square(response[::-1]).cumsum()[::-1] + 1e-30)
        start, end = np.argmax(left < left[0] - 15), np.argmax(left < left[0] - 35)
        times.append(3 * (end - start) / RATE)
    # A single room's slope varies with its walls and places; the decaying noise takes over after 50 ms.
    assert np.median(times) == pytest.approx(0.5, rel=0.2)


def test_clipping_takes_the_share_that_was_asked():
    wave = np.random.default_rng(0).standard_normal(10_000)
    assert (np.abs(clipped(wave, 0.05)) >= np.abs(clipped(wave, 0.05)).max()).mean() == pytest.approx(0.05, abs=0.001)


def test_band_limits_leave_the_band_and_nothing_else():
    time = np.arange(RATE) / RATE
    inside, outside = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 6000 * time)
    middle = slice(2000, -2000)
    np.testing.assert_allclose(band_limited(inside + outside, RATE, 300, 3400)[middle], inside[middle], atol=0.02)


@pytest.mark.parametrize("exponent", [0, 1, 2])
def test_coloured_noise_falls_with_its_exponent(exponent):
    wave = coloured_noise(2**16, exponent, np.random.default_rng(0))
    power = np.square(np.abs(np.fft.rfft(wave)))
    octaves = [power[k : 2 * k].mean() for k in (500, 1000, 2000, 4000, 8000)]
    # The mean of an octave over 500 and more bins of exponential noise is known to 4 %.
    np.testing.assert_allclose(np.diff(np.log2(octaves)), -exponent, atol=0.2)
    assert np.square(wave).mean() == pytest.approx(1.0, rel=1e-5)


def test_speech_shaped_noise_has_the_spectrum_of_the_speech():
    speech = band_limited(np.random.default_rng(0).standard_normal(4 * RATE), RATE, 500, 2000)
    power = np.square(np.abs(np.fft.rfft(speech_shaped_noise(speech, RATE, np.random.default_rng(1)))))
    assert power[500:2000].sum() > 0.97 * power.sum()


def test_babble_and_loops_have_unit_rms_and_no_seam():
    voices = [np.random.default_rng(i).standard_normal(3000) for i in range(3)]
    assert np.square(babble(voices, 9000, np.random.default_rng(0))).mean() == pytest.approx(1.0, rel=1e-4)
    np.testing.assert_array_equal(looped(np.arange(5), 7, 3), [3, 4, 0, 1, 2, 3, 4])

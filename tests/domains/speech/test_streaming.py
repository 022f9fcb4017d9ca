"""Recordings of any rate, channels and length go through in chunks whose seams cannot be measured."""

import numpy as np
import pytest
import torch

from ornstein.domains.speech.classical import noise_reduction, prediction_error, wiener
from ornstein.domains.speech.enhancement import build
from ornstein.domains.speech.measures import si_sdr
from ornstein.domains.speech.streaming import CHUNK, OVERLAP, Bridge, Classical, Enhancer, Loudness

TINY = {"channels": [8, 8], "blocks": 1, "hidden": 8, "narrow": 4, "embedding": 16}


def run(enhancer, wave, rate, block=None):
    loudness = Loudness()
    loudness.add(wave, rate)
    block = block or rate
    blocks = (wave[:, i : i + block] for i in range(0, wave.shape[1], block))
    parts = list(enhancer.run(blocks, rate, loudness))
    return np.concatenate([part[0] for part, _ in parts], axis=1), [deviation for _, deviation in parts]


def noise(rate, channels, seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, round(rate * seconds)))).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize(("channels", "seconds"), [(1, 0.04), (2, 8.3), (1, 17.123)])
def test_what_the_model_leaves_alone_comes_out_sample_for_sample(rate, channels, seconds):
    wave = noise(rate, channels, seconds)
    out, _ = run(Enhancer(Bridge(build(TINY, 0.1).eval())), wave, rate)
    assert out.shape == wave.shape
    # An untrained model is the identity. Where there is nothing above the model's band, its gain is rounding over rounding.
    assert np.abs(out - wave).max() < (1e-6 if rate >= 16_000 else 1e-3)


def test_seams_are_as_good_as_the_rest():
    rate, seconds = 16_000, 3 * CHUNK
    wave = noise(rate, 1, seconds)
    # A method that sees 20 ms around each sample: away from its own ends a chunk knows what the whole would give.
    kernel = np.hanning(641) / np.hanning(641).sum()
    smooth = lambda x: np.stack([np.convolve(c, kernel, "same") for c in x]).astype(np.float32)  # noqa: E731
    out, _ = run(Enhancer(Classical(smooth)), wave, rate, block=5000)
    error = np.abs(out - smooth(wave))
    assert error[:, : rate * CHUNK * 2].max() < 1e-6
    assert OVERLAP * 0.25 > 0.02


def test_size_of_the_blocks_does_not_matter():
    wave = noise(16_000, 2, 18.0)
    enhancer = Enhancer(Classical(lambda x: 0.5 * x))
    one, _ = run(enhancer, wave, 16_000, block=777)
    other, _ = run(enhancer, wave, 16_000, block=10**9)
    np.testing.assert_allclose(one, other, atol=1e-7)
    np.testing.assert_allclose(one, 0.5 * wave, atol=1e-6)


def test_band_above_the_model_follows_its_top():
    rate = 48_000
    wave = noise(rate, 1, 2.0)
    kept, _ = run(Enhancer(Classical(lambda x: 0.1 * x)), wave, rate)
    cut, _ = run(Enhancer(Classical(lambda x: 0.1 * x), wide=True), wave, rate)
    power = [np.square(np.abs(np.fft.rfft(w[0, 2000:-2000]))) for w in (wave, kept, cut)]
    top = slice(len(power[0]) // 2, None)  # 12 to 24 kHz
    assert power[1][top].sum() / power[0][top].sum() == pytest.approx(0.01, rel=0.05)
    assert power[2][top].sum() < 1e-6 * power[0][top].sum()


def test_mix_lies_between():
    wave = noise(16_000, 1, 1.0)
    out, _ = run(Enhancer(Classical(np.zeros_like), mix=0.25), wave, 16_000)
    np.testing.assert_allclose(out, 0.75 * wave, atol=1e-6)


def test_silence_stays_silence():
    out, _ = run(Enhancer(Bridge(build(TINY, 0.1).eval())), np.zeros((2, 20_000), np.float32), 16_000)
    assert out.shape == (2, 20_000)
    assert not out.any()


def test_samples_differ_where_the_bridge_is_noisy_and_the_seed_decides():
    denoiser = build(TINY, 0.1).eval()
    torch.nn.init.normal_(denoiser.network.last.weight, std=0.1)
    wave = noise(16_000, 1, 0.5)
    one, deviations = run(Enhancer(Bridge(denoiser, steps=3, samples=4)), wave, 16_000)
    same, _ = run(Enhancer(Bridge(denoiser, steps=3, samples=4)), wave, 16_000)
    other, _ = run(Enhancer(Bridge(denoiser, steps=3, samples=4, seed=1)), wave, 16_000)
    assert deviations[0].shape == (1, 256, 63)
    assert deviations[0].mean() > 0
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0


def test_loudness_hears_speech_and_not_the_pauses():
    rate = 16_000
    speech = noise(rate, 1, 2.0)
    for pause in (1, 10):
        loudness = Loudness()
        for part in (speech, 1e-4 * noise(rate, 1, pause)):
            loudness.add(part, rate)
        assert loudness.value == pytest.approx(0.1, rel=0.02)
    assert Loudness().value == 0


@pytest.mark.parametrize("method", [wiener, noise_reduction])
def test_classical_methods_bring_a_voice_out_of_noise(method):
    time = np.arange(4 * 16_000) / 16_000
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / 16_000
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    voice = (0.1 * sum(np.sin(k * pitch) / k for k in range(1, 30)) * syllables).astype(np.float32)[None]
    noisy = voice + 0.5 * noise(16_000, 1, 4.0)
    made = method(noisy)
    assert made.shape == noisy.shape
    assert si_sdr(made[0], voice[0]) > si_sdr(noisy[0], voice[0]) + 0.5
    pause = syllables == 0
    assert np.square(made[0, pause]).sum() < 0.5 * np.square(noisy[0, pause]).sum()


def test_prediction_error_takes_late_echoes_away():
    time = np.arange(64_000) / 16_000
    speech = (noise(16_000, 1, 4.0) * (np.sin(2 * np.pi * 2 * time) > 0)).astype(np.float32)
    echo = np.random.default_rng(1).standard_normal(4000) * np.exp(-np.arange(4000) / 800)
    echo[:640] = 0  # later than 40 ms, which is what it predicts
    heard = (speech + 0.05 * np.convolve(speech[0], echo)[None, :64_000]).astype(np.float32)
    assert si_sdr(prediction_error(heard)[0], speech[0]) > si_sdr(heard[0], speech[0]) + 0.5


def test_kept_samples_have_the_result_as_their_mean_however_many_go_through_at_once():
    wave = noise(16_000, 2, 9.5)
    denoiser = build(TINY, 0.1).eval()
    with torch.no_grad():
        denoiser.network.last.weight.normal_(std=0.1)  # an untrained model would ignore the noise
    loudness = Loudness()
    loudness.add(wave, 16_000)
    made = []
    for at_once in (1, 8):
        bridge = Bridge(denoiser, steps=3, samples=3, keep=True, precision="fp32", at_once=at_once)
        made.append(np.concatenate([part for part, _ in Enhancer(bridge).run([wave], 16_000, loudness)], axis=2))
    assert made[0].shape == (4, *wave.shape)
    np.testing.assert_allclose(made[0], made[1], atol=1e-5)
    np.testing.assert_allclose(made[0][0], made[0][1:].mean(0), atol=1e-5)
    assert np.abs(made[0][1] - made[0][2]).max() > 1e-3

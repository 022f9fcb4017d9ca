"""Speech without a model: the methods that a learned one has to beat."""

import warnings

import numpy as np
from scipy import signal

from ornstein.domains.speech.spectrogram import RATE

Array = np.ndarray

FRAME, HOP = 512, 128


def wiener(noisy: Array) -> Array:
    """Wiener filter whose a-priori SNR is decided on the frame before, with the noise tracked through speech.

        xi = 0.98 G^2 gamma (of the frame before) + 0.02 max(gamma - 1, 0),  G = xi / (1 + xi),  at least -20 dB

    Args:
        noisy: (channels, samples) at 16 kHz.

    Source: Ephraim and Malah (1984), Speech enhancement using a minimum mean-square error short-time spectral amplitude
    estimator, IEEE TASSP 32(6), eq. 51; Gerkmann and Hendriks (2012), Unbiased MMSE-based noise power estimation with
    low complexity and low tracking delay, IEEE TASL 20(4).
    """
    _, _, spectrum = signal.stft(noisy, RATE, nperseg=FRAME, noverlap=FRAME - HOP)
    power = np.square(np.abs(spectrum)) + 1e-16
    noise = power[..., :10].mean(-1)
    prior, presence = 10**1.5, np.zeros_like(noise)
    before = np.ones_like(noise)
    out = np.empty_like(spectrum)
    for frame in range(spectrum.shape[-1]):
        observed = power[..., frame]
        probability = 1 / (1 + (1 + prior) * np.exp(-np.minimum(observed / noise, 200) * prior / (1 + prior)))
        presence = 0.9 * presence + 0.1 * probability
        probability = np.where(presence > 0.99, np.minimum(probability, 0.99), probability)
        noise = 0.8 * noise + 0.2 * (probability * noise + (1 - probability) * observed)
        gamma = observed / noise
        xi = 0.98 * before + 0.02 * np.maximum(gamma - 1, 0)
        gain = np.maximum(xi / (1 + xi), 0.1)
        before = np.square(gain) * gamma
        out[..., frame] = gain * spectrum[..., frame]
    return _back(out, noisy)


def noise_reduction(noisy: Array) -> Array:
    """Spectral gating that follows the noise, of the package noisereduce (Sainburg et al., 2020), at its usual strength.

    Args:
        noisy: (channels, samples) at 16 kHz.
    """
    from noisereduce import reduce_noise

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(reduce_noise(y=noisy, sr=RATE, prop_decrease=0.7), np.float32).reshape(noisy.shape)


def prediction_error(reverberant: Array) -> Array:
    """Weighted prediction error: late reverberation is what can be predicted from the past, and is taken away.

    Args:
        reverberant: (channels, samples) at 16 kHz; several channels are predicted together.

    Source: Nakatani et al. (2010), Speech dereverberation based on variance-normalized delayed linear prediction, IEEE
    TASLP 18(7); by the package nara_wpe (Drude et al., 2018), with 10 taps, delay 3 and 3 iterations.
    """
    from nara_wpe.wpe import wpe

    _, _, spectrum = signal.stft(reverberant, RATE, nperseg=FRAME, noverlap=FRAME - HOP)
    made = wpe(spectrum.transpose(1, 0, 2) + 1e-12, taps=10, delay=3, iterations=3, statistics_mode="full")
    return _back(made.transpose(1, 0, 2), reverberant)


def _back(spectrum: Array, like: Array) -> Array:
    wave = signal.istft(spectrum, RATE, nperseg=FRAME, noverlap=FRAME - HOP)[1][:, : like.shape[1]]
    return np.pad(wave, ((0, 0), (0, like.shape[1] - wave.shape[1]))).astype(np.float32)


METHODS = {"wiener": wiener, "noisereduce": noise_reduction, "wpe": prediction_error}
"""By the name that a user gives."""

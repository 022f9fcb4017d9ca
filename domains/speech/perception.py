"""How far apart two waves sound: the perceptual model of PESQ as something to be minimised."""

from functools import cache

import numpy as np
import torch
from scipy import signal
from torch import Tensor
from torch.nn.functional import pad

from ornstein.domains.speech.spectrogram import RATE

FRAME = 512

# The tables of P.862 for 16 kHz, one entry a Bark band.
# fmt: off
BINS = (1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7,
        8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20)
CENTRE = (0.078672, 0.316341, 0.636559, 0.961246, 1.290450, 1.624217, 1.962597, 2.305636, 2.653383, 3.005889, 3.363201,
          3.725371, 4.092449, 4.464486, 4.841533, 5.223642, 5.610866, 6.003256, 6.400869, 6.803755, 7.211971, 7.625571,
          8.044611, 8.469146, 8.899232, 9.334927, 9.776288, 10.223374, 10.676242, 11.134952, 11.599563, 12.070135,
          12.546731, 13.029408, 13.518232, 14.013264, 14.514566, 15.022202, 15.536238, 16.056736, 16.583761, 17.117382,
          17.657663, 18.204674, 18.758478, 19.319147, 19.886751, 20.461355, 21.043034)
WIDTH = (0.157344, 0.317994, 0.322441, 0.326934, 0.331474, 0.336061, 0.340697, 0.345381, 0.350114, 0.354897, 0.359729,
         0.364611, 0.369544, 0.374529, 0.379565, 0.384653, 0.389794, 0.394989, 0.400236, 0.405538, 0.410894, 0.416306,
         0.421773, 0.427297, 0.432877, 0.438514, 0.444209, 0.449962, 0.455774, 0.461645, 0.467577, 0.473569, 0.479621,
         0.485736, 0.491912, 0.498151, 0.504454, 0.510819, 0.517250, 0.523745, 0.530308, 0.536934, 0.543629, 0.550390,
         0.557220, 0.564119, 0.571085, 0.578125, 0.585232)
CORRECTION = (100.000000, 99.999992, 100.000000, 100.000008, 100.000008, 100.000015, 99.999992, 99.999969, 50.000027,
              100.000000, 99.999969, 100.000015, 99.999947, 100.000061, 53.047077, 110.000046, 117.991989, 65.000000,
              68.760147, 69.999931, 71.428818, 75.000038, 76.843384, 80.968781, 88.646126, 63.864388, 68.155350,
              72.547775, 75.584831, 58.379192, 80.950836, 64.135651, 54.384785, 73.821884, 64.437073, 59.176456,
              65.521278, 61.399822, 58.144047, 57.004543, 64.126297, 54.311001, 61.114979, 55.077751, 56.849335,
              55.628868, 53.137054, 54.985844, 79.546974)
THRESHOLD = (51286152.0, 2454709.5, 70794.593750, 4897.788574, 1174.897705, 389.045166, 104.712860, 45.708820,
             17.782795, 9.772372, 4.897789, 3.090296, 1.905461, 1.258925, 0.977237, 0.724436, 0.562341, 0.457088,
             0.389045, 0.331131, 0.295121, 0.269153, 0.257040, 0.251189, 0.251189, 0.251189, 0.251189, 0.263027,
             0.288403, 0.309030, 0.338844, 0.371535, 0.398107, 0.436516, 0.467735, 0.489779, 0.501187, 0.501187,
             0.512861, 0.524807, 0.524807, 0.524807, 0.512861, 0.478630, 0.426580, 0.371535, 0.363078, 0.416869,
             0.537032)
# fmt: on
POWER_SCALE, LOUDNESS_SCALE = 6.910853e-6, 1.866055e-1


def perceptual_distance(estimate: Tensor, reference: Tensor) -> Tensor:
    """0.1 d + 0.0309 d_a of PESQ, with d the symmetric and d_a the asymmetric disturbance: about 0 (alike) to 4.

    PESQ is 0.999 + 4 / (1 + exp(3.8224 - 1.3669 (4.5 - distance))). Left out are its search for delays, of which an
    enhanced wave has none, and what cannot be differentiated; the filters act on spectra.

    Args:
        estimate, reference: (batch, samples) at 16 kHz, float32, of at least 0.5 s.

    Returns: (batch,), with a gradient to the estimate.

    Source: ITU-T Recommendation P.862 (2001) and P.862.2 (2007); as a loss Martin-Donas et al. (2018), A deep learning
    loss function based on the perceptual evaluation of the speech quality, IEEE SPL 25(11).
    """
    threshold, width = (torch.tensor(table, device=estimate.device) for table in (THRESHOLD, WIDTH[1:]))
    heard, wanted = (_bark(wave) for wave in (estimate, reference))

    def audible(power: Tensor, factor: float) -> Tensor:
        return power * (power > threshold * factor)

    # The reference takes on the estimate's timbre, the estimate the reference's loudness over time, within limits.
    speech = (audible(wanted, 100.0).sum(2, keepdim=True) >= 1e7).float()
    mean = [(audible(power, 100.0) * speech).mean(1, keepdim=True) for power in (heard, wanted)]
    wanted = wanted * ((mean[0] + 1000) / (mean[1] + 1000)).clamp(0.01, 100)
    total = audible(wanted, 1.0).sum(2, keepdim=True)
    ratio = (total + 5e3) / (audible(heard, 1.0).sum(2, keepdim=True) + 5e3)
    ratio = torch.cat([ratio[:, :1], 0.8 * ratio[:, 1:] + 0.2 * ratio[:, :-1]], dim=1)
    heard = heard * ratio.clamp(3e-4, 5.0)
    loud, loud_wanted = _loudness(heard, threshold), _loudness(wanted, threshold)
    difference = loud - loud_wanted
    # What is a quarter of the softer one is not noticed.
    noticed = (difference.abs() - 0.25 * torch.minimum(loud, loud_wanted)).clamp_min(0)
    # What was added is worse than what is missing.
    asymmetry = ((heard + 50) / (wanted + 50)) ** 1.2
    asymmetry = (asymmetry * (asymmetry >= 3)).clamp(max=12)
    breadth = width.sum()
    symmetric = ((width * noticed[..., 1:]).square().sum(2) * breadth + 1e-12).sqrt()
    asymmetric = (width * noticed[..., 1:] * asymmetry[..., 1:]).sum(2)
    weight = ((total[..., 0] + 1e5) / 1e7) ** -0.04
    return 0.1 * _over_time(symmetric * weight) + 0.0309 * _over_time(asymmetric * weight)


def _over_time(disturbance: Tensor) -> Tensor:
    """Frames (batch, frames) to one number: power 6 within a third of a second, squares between."""
    short = (disturbance.clamp(max=45.0) + 1e-6).unfold(1, 20, 10).pow(6).mean(2).pow(1 / 6)
    return short.square().mean(1).sqrt()


def _bark(wave: Tensor) -> Tensor:
    """Power in Bark bands (batch, frames, 49) at the level that the model listens at."""
    frames = pad(wave, (0, -wave.shape[1] % (FRAME // 2))).unfold(1, FRAME, FRAME // 2)
    window = torch.hann_window(FRAME, device=wave.device)
    power = torch.view_as_real(torch.fft.rfft(frames * window)).square().sum(-1)[..., :-1]
    frequency = torch.arange(FRAME // 2, device=wave.device) * (RATE / FRAME)
    speech = (frequency >= 325) & (frequency <= 3250)
    level = 2 * power[..., speech].sum(2).mean(1) / (FRAME * window.square().sum())
    return (power @ _bands().to(wave.device).T) * (1e7 / (level + 1e-10))[:, None, None]


@cache
def _bands() -> Tensor:
    """From bins to bands, with the receiver's filter: (49, 256)."""
    bands = np.zeros((len(BINS), FRAME // 2), np.float32)
    start = 0
    for band, count in enumerate(BINS):
        bands[band, start : start + count] = CORRECTION[band] * POWER_SCALE
        start += count
    _, response = signal.freqz(
        [2.740826, -5.4816519, 2.740826], [1.0, -1.9444777, 0.94597794], worN=FRAME // 2, fs=RATE
    )
    bands[:, 0] = 0
    return torch.from_numpy(bands * np.square(np.abs(response)).astype(np.float32))


def _loudness(power: Tensor, threshold: Tensor) -> Tensor:
    exponent = 0.23 * (6 / (torch.tensor(CENTRE, device=power.device) + 2)).clamp(1, 2) ** 0.15
    loudness = (2 * threshold) ** exponent * ((0.5 + 0.5 * power / threshold) ** exponent - 1)
    return LOUDNESS_SCALE * loudness * (power > threshold)

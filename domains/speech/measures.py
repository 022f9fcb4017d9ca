"""How good speech is: PESQ, ESTOI, SI-SDR, and the distance of spectra."""

import numpy as np

Array = np.ndarray


def si_sdr(estimate: Array, reference: Array) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of waves (samples,); -inf for a silent estimate.

    10 log10(|a s|^2 / |a s - e|^2) with a = <e, s> / |s|^2, both without their means.

    Source: Le Roux et al. (2019), SDR - half-baked or well done?, arXiv:1811.02508, eq. 5.
    """
    e, s = (np.asarray(w, np.float64) - np.mean(w, dtype=np.float64) for w in (estimate, reference))
    target = (e @ s) / max(s @ s, 1e-30) * s
    error = e - target
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((target @ target) / max(error @ error, 1e-30)))


def estoi(estimate: Array, reference: Array, rate: int) -> float:
    """Extended short-time objective intelligibility, at most 1, of waves (samples,).

    Source: Jensen and Taal (2016), An algorithm for predicting the intelligibility of speech masked by modulated noise
    maskers, IEEE/ACM TASLP 24(11); by the package pystoi.
    """
    import warnings

    from pystoi import stoi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so where less than 30 frames hold speech, and gives 1e-5
        return float(stoi(reference, estimate, rate, extended=True))


def pesq(estimate: Array, reference: Array) -> float | None:
    """Wide-band PESQ, 1.04 to 4.64, of waves (samples,) at 16 kHz; 1.0 where it fails, None where it is not installed.

    Source: ITU-T Recommendation P.862.2 (2007); by the package pesq (the extra `pesq`).
    """
    try:
        import pesq as package
    except ImportError:
        return None
    try:
        return float(package.pesq(16_000, reference, estimate, "wb"))
    except (package.PesqError, ValueError):
        return 1.0

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


def si_sir_sar(estimate: Array, reference: Array, noise: Array) -> tuple[float, float]:
    """Scale-invariant ratios in dB of the target to the noise that is left, and to what is neither (artefacts).

    The estimate is split into its projection on the reference, that on reference and noise together less it, and the
    rest.

    Source: Le Roux et al. (2019), arXiv:1811.02508, section 2.
    """
    e, s, n = (np.asarray(w, np.float64) - np.mean(w, dtype=np.float64) for w in (estimate, reference, noise))
    target = (e @ s) / max(s @ s, 1e-30) * s
    basis = np.stack([s, n], axis=1)
    both = basis @ np.linalg.lstsq(basis, e, rcond=None)[0]
    left, artefacts = both - target, e - both
    power = max(target @ target, 1e-30)
    return tuple(float(10 * np.log10(power / max(part @ part, 1e-30))) for part in (left, artefacts))  # type: ignore[return-value]


def log_spectral_distance(estimate: Array, reference: Array, rate: int, low: float, high: float) -> float:
    """Root-mean-square difference of log spectra in dB between two frequencies in Hz, a frame (32 ms), then their mean.

    Frames in which the reference is silent (60 dB below its loudest) are left out.
    """
    n = 2 * round(0.016 * rate)
    window = np.hanning(n)

    def power(wave: Array) -> Array:
        frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, max(0, n - len(wave)))), n)[:: n // 2]
        return np.square(np.abs(np.fft.rfft(frames * window)))

    e, s = power(estimate), power(reference)
    loud = s.sum(1) > 1e-6 * s.sum(1).max()
    bins = slice(round(low * n / rate), round(high * n / rate) + 1)
    floor = 1e-10 * s.max() + 1e-30
    difference = 10 * np.log10((e[loud, bins] + floor) / (s[loud, bins] + floor))
    return float(np.sqrt(np.square(difference).mean(1)).mean())


def measure(
    estimate: Array, reference: Array, rate: int, before: Array | None = None
) -> tuple[dict[str, float | None], list[str]]:
    """All measures of a recording, as means over its channels, and what to know of them.

    Args:
        estimate, reference, before: (channels, samples) of one shape; `before` is the recording that was enhanced.
        rate: of them, in Hz.
    """
    from ornstein.datasets.audio import resampled

    rows, notes = [], []
    for number in range(len(reference)):
        e, s = (np.ascontiguousarray(w[number], np.float32) for w in (estimate, reference))
        if not s.any():
            notes.append(f"channel {number + 1} of the reference is silent, and left out")
            continue
        row: dict[str, float | None] = {
            "pesq": pesq(resampled(e, rate, 16_000), resampled(s, rate, 16_000)),
            "estoi": estoi(e, s, rate),
            "si_sdr": si_sdr(e, s),
            "lsd_below_8k": log_spectral_distance(e, s, rate, 0, min(8000, rate / 2)),
        }
        if rate / 2 > 9000:
            row["lsd_above_8k"] = log_spectral_distance(e, s, rate, 8000, min(20_000, rate / 2))
        if before is not None:
            b = np.ascontiguousarray(before[number], np.float32)
            row["si_sir"], row["si_sar"] = si_sir_sar(e, s, b - s)
            row["si_sdr_input"], row["estoi_input"] = si_sdr(b, s), estoi(b, s, rate)
            row["pesq_input"] = pesq(resampled(b, rate, 16_000), resampled(s, rate, 16_000))
        rows.append(row)
    if rows and rows[0]["pesq"] is None:
        notes.append("PESQ is not installed: pip install 'ornstein[pesq]'")
    means: dict[str, float | None] = {}
    for name in rows[0] if rows else {}:
        found = [row[name] for row in rows]
        known = [value for value in found if value is not None]
        means[name] = float(np.mean(known)) if len(known) == len(found) else None
    return means, notes

"""Pictures and players of recordings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ornstein.pipelines.report import Report

EXCERPT = 15.0
"""Seconds of a recording that a report shows and plays."""


def show(report: "Report", result: Path, reference: Path | None = None) -> None:
    """Adds the spectrogram and a player of a recording in a file, and of its reference where there is one.

    Args:
        report: the page.
        result: the recording that `speech enhance` wrote.
        reference: the clean speech, or None.

    Raises:
        InputError: for files that are no sound.
    """
    from ornstein.datasets.audio import open_sound

    names = ["result"] if reference is None else ["result", "reference"]
    sounds = [open_sound(path) for path in (result, reference) if path is not None]
    waves = [next(iter(sound.blocks(EXCERPT)))[0] for sound in sounds]
    rates = [sound.format.rate for sound in sounds]
    for wave, rate, name in zip(waves, rates, names, strict=True):
        report.picture(spectrograms([wave], rate, [name]), f"The first {len(wave) / rate:.3g} s, first channel.")
        report.sound(flac(wave, rate), name)


def spectrograms(waves: "list[np.ndarray]", rate: int, titles: list[str]) -> Any:
    """A figure of waves (samples,) as spectrograms in dB, one below the other, on one scale."""
    import numpy as np
    from scipy import signal

    from ornstein.pipelines.report import figure

    made = figure(9, 2.3 * len(waves))
    panels = np.atleast_1d(made.subplots(len(waves), 1, sharex=True))
    levels = []
    for wave in waves:
        frequency, time, power = signal.spectrogram(wave, rate, nperseg=max(256, rate // 40), noverlap=None)
        levels.append(10 * np.log10(power + 1e-14))
    white = max(float(level.max()) for level in levels)
    for panel, level, title in zip(panels, levels, titles):
        panel.pcolormesh(
            time, frequency / 1000, level, vmin=white - 80, vmax=white, cmap="magma", shading="nearest", rasterized=True
        )
        panel.set_ylabel("kHz")
        panel.set_title(title, loc="left", fontsize=10)
    panels[-1].set_xlabel("s")
    return made


def flac(wave: "np.ndarray", rate: int) -> bytes:
    """A wave (samples,) as the bytes of a FLAC file of 16 bits."""
    import io

    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wave.clip(-1, 1), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()

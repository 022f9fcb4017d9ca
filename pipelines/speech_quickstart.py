"""The quickstart of speech: a synthetic voice in noise, since no installed library carries speech that is free to use."""

from pathlib import Path
from typing import Any, Literal

from ornstein.pipelines import speech
from ornstein.pipelines.console import Console
from ornstein.pipelines.quickstart import Demonstration
from ornstein.pipelines.report import Report
from ornstein.pipelines.speech_pictures import flac, spectrograms
from ornstein.pipelines.speech_results import Enhancement

RATE, SECONDS, SNR = 16_000, 12.0, 3.0

METHODS: tuple[Literal["noisereduce", "wiener", "diffusion"], ...] = ("noisereduce", "wiener", "diffusion")


def demonstrate(folder: Path, report: Report, device: str, seed: int, console: Console) -> Demonstration:
    """Puts a synthetic voice into speech-shaped noise at 3 dB, and takes the noise away by every method."""
    import numpy as np
    import soundfile

    from ornstein.datasets.voice import synthetic_voice
    from ornstein.domains.speech.measures import measure

    clean = synthetic_voice(SECONDS, RATE, seed)
    soundfile.write(folder / "clean.wav", clean, RATE)
    simulated = speech.simulate(str(folder / "clean.wav"), snr=SNR, target=str(folder / "target.wav"), seed=seed)
    simulated.save(folder / "noisy.wav", overwrite=True)
    noisy, target = simulated.noisy, simulated.target
    waves: dict[str, Any] = {"target": target, "noisy": noisy}
    results: dict[str, Enhancement] = {}
    for method in METHODS:
        progress = console.progress(f"speech {method}")
        made = speech.enhance(str(folder / "noisy.wav"), method=method, device=device, seed=seed, progress=progress)
        made.save(folder / f"{method}.wav", overwrite=True)
        progress.close()
        results[method] = made
        waves[method] = soundfile.read(folder / f"{method}.wav", always_2d=True, dtype="float32")[0].T
    head = ("method", "SI-SDR (dB)", "ESTOI", "PESQ", "seconds")
    rows: list[tuple[Any, ...]] = []
    for name in ("noisy", *METHODS):
        found, _ = measure(waves[name], target, RATE, None)
        seconds = results[name].record["seconds"] if name in results else None
        rows.append((name, found["si_sdr"], found["estoi"], found.get("pesq"), seconds))
        console.say(f"speech {name}: SI-SDR {found['si_sdr']:.1f} dB")
    best = max(rows[1:-1], key=lambda row: row[1])
    gain = rows[-1][1] - best[1]
    said = f"diffusion is {abs(gain):.1f} dB {'above' if gain >= 0 else 'below'} {best[0]}, the best classical method"
    report.text(
        f"{SECONDS:g} s of a synthetic voice (pulses and hisses through moving formants: it says no words), made on the spot "
        f"because no library that is installed carries free speech, in speech-shaped noise at {SNR:g} dB. The model was "
        "trained on people, so a real recording shows more than this."
    )
    report.text(f"Outcome: {said}.").table(rows, head)
    shown = ["target", "noisy", *METHODS]
    report.picture(spectrograms([waves[name][0] for name in shown], RATE, shown), "From 0 to 8 kHz, over 80 dB.")
    for name in shown:
        report.sound(flac(np.asarray(waves[name][0]), RATE), name)
    report.provenance(results["diffusion"].record)
    return Demonstration(head, rows, results["diffusion"].model, said)

"""What a speech model must not spoil: clean speech, the band above the model's, the seams of chunks; its time and memory.

python benchmarks/speech_properties.py [--model NAME | --unfinished] [--steps 1] [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml
from speech import ours

from ornstein.datasets.mixing import active_level
from ornstein.datasets.voice import synthetic_voice
from ornstein.domains.speech.enhancement import load_enhancer
from ornstein.domains.speech.measures import log_spectral_distance, pesq, si_sdr
from ornstein.domains.speech.mixtures import Mixtures, Recipe, load_bank
from ornstein.domains.speech.spectrogram import RATE
from ornstein.domains.speech.steadiness import Steadiness
from ornstein.domains.speech.streaming import CHUNK, OVERLAP, Bridge, Enhancer, Loudness
from ornstein.domains.speech.training import EnhancerConfiguration, load_unfinished
from ornstein.pipelines.models import find_model

MUSIC = ("ibm_piano", "ibm_jazz_guitar", "lr_hungarian", "lr_sugar_plum", "lr_vibe_ace")
NEAR = 0.05  # seconds around the middle of what two chunks share


def clean_in(enhancer: Enhancer, waves: list[np.ndarray]) -> dict[str, float]:
    """Means over clean recordings: PESQ, SI-SDR, the largest change of the active level in dB and lag in samples."""
    rows = []
    for wave in waves:
        made = ours(enhancer)(wave)
        spectrum = np.fft.rfft(made, 2 * len(wave)) * np.fft.rfft(wave, 2 * len(wave)).conj()
        lag = int(np.argmax(np.fft.irfft(spectrum)))
        level = abs(active_level(made, RATE)[0] - active_level(wave, RATE)[0])
        rows.append((pesq(made, wave) or np.nan, si_sdr(made, wave), level, min(lag, 2 * len(wave) - lag)))
    table = np.array(rows)
    mean, most = table.mean(0), table.max(0)
    return {"pesq": mean[0], "si_sdr": mean[1], "lowest_si_sdr": table[:, 1].min(), "level_db": most[2], "lag": most[3]}


def band_above(enhancer: Enhancer) -> float:
    """The log-spectral distance over 8 to 20 kHz, in dB, that a clean voice at 48 kHz comes back with."""
    wave = synthetic_voice(10.0, 48_000)
    loudness = Loudness()
    loudness.add(wave[None], 48_000)
    made = np.concatenate([part[0] for part, _ in enhancer.run([wave[None]], 48_000, loudness)], axis=1)[0]
    return log_spectral_distance(made, wave, 48_000, 8000.0, 20_000.0)


def seams(enhancer: Enhancer, mixtures: Mixtures) -> float:
    """The error near the seams over the error elsewhere in dB, over ten minutes of mixtures at 5 dB."""
    random, step = np.random.default_rng(3), (CHUNK - OVERLAP) * RATE
    near, far = [0.0, 0], [0.0, 0]
    for _ in range(10):
        noisy, clean, _ = mixtures.at(random, 5.0)
        error = np.square(ours(enhancer)(noisy) - clean)
        middles = np.arange(step, len(noisy) - CHUNK * RATE, step) + OVERLAP * RATE // 2
        at = np.zeros(len(noisy), bool)
        for middle in middles:
            at[middle - round(NEAR * RATE) : middle + round(NEAR * RATE)] = True
        for total, here in ((near, at), (far, ~at)):
            total[0] += float(error[here].sum())
            total[1] += int(here.sum())
    return float(10 * np.log10((near[0] / near[1]) / (far[0] / far[1])))


def steadiness(speech: Path, noise: Path) -> dict[str, float]:
    """`Steadiness` of 12 s: quantiles over recordings of speech, and each piece of music."""

    def value(path: Path) -> float:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        heard = Steadiness()
        heard.add(wave[: 12 * rate].T, rate)
        return np.nan if heard.value is None else heard.value

    speaking = [value(path) for path in sorted(speech.glob("*.flac"))]
    found = {f"speech_{q:g}": float(np.nanquantile(speaking, q)) for q in (0.5, 0.99, 1.0)}
    return found | {name: value(noise / f"{name}.flac") for name in MUSIC}


def cost(model: str | None, steps: int) -> dict[str, float]:
    """Seconds of work a second of sound, of a file of 60 s, and the peak memory of 10 s and of 10 minutes in GB."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (10, 60, 600):
            source, target = Path(folder) / f"{seconds}.wav", Path(folder) / f"{seconds}-out.wav"
            soundfile.write(source, np.tile(synthetic_voice(10.0), seconds // 10), RATE)
            line = ["-m", "ornstein", "speech", "enhance", str(source), "-o", str(target), "--steps", str(steps)]
            subprocess.run([sys.executable, *line, "--quiet", *(["--model", model] if model else [])], check=True)
            record = json.loads(Path(f"{target}.json").read_text())
            found[f"gigabytes_{seconds}_s"] = record["peak_memory_bytes"] / 1e9
            found[f"real_time_factor_{seconds}_s"] = record["seconds"] / seconds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--unfinished", action="store_true", help="the last checkpoint of --config's training")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--config", default="workflows/speech/training/speech.yaml")
    parser.add_argument("--json")
    given = parser.parse_args()
    settings = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))
    settings.pop("domain")
    configuration = EnhancerConfiguration.parse(settings)
    if given.unfinished:
        denoiser = load_unfinished(configuration)
    else:
        denoiser, _ = load_enhancer(find_model(given.model, "speech").folder)
    torch.manual_seed(0)
    enhancer = Enhancer(Bridge(denoiser, steps=given.steps))
    bank = load_bank(configuration.data, held_out=True, log=lambda text: None)
    clean = [waves[0].astype(np.float32)[: 8 * RATE] for waves in bank.speech]
    clean = [0.5 * wave / np.abs(wave).max() for wave in clean]
    recipe = Recipe(
        seconds=60.0, dereverberation=0, room=0, alone=0, silent=0, babble=0, coloured=0, clipped=0, narrow=0
    )
    record: dict[str, object] = {"steps": given.steps, "clean": clean_in(enhancer, clean)}
    record["band_above_db"] = band_above(enhancer)
    start = time.perf_counter()
    record["seams_db"] = seams(enhancer, Mixtures(bank, recipe))
    record["seconds_of_ten_minutes"] = time.perf_counter() - start
    record["steadiness"] = steadiness(Path(configuration.data.speech).parent, Path(configuration.data.noise).parent)
    if not given.unfinished:
        record["cost"] = cost(given.model, given.steps)
    text = json.dumps(record, indent=2, default=float)
    print(text)
    if given.json:
        Path(given.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

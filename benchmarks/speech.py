"""Speech enhancement beside its peers, on mixtures of speakers, noises and rooms that were never trained on.

    python benchmarks/speech.py [--model NAME | --unfinished] [--count 200] [--steps 1] [--json FILE]

Prints PESQ, ESTOI and SI-SDR of the input, of the classical methods, of RNNoise where pyrnnoise is installed and of the
model; the paired 95 % bootstrap interval of the model against each; the worst tenth of the files, and how many fell below
their input in ESTOI. Three sets: noises at 0 to 15 dB; the VoiceBank-DEMAND pairs (of one training speaker, whom this
training holds out); simulated and measured rooms that are held out.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml

from ornstein.datasets.audio import read_wave
from ornstein.datasets.mixing import through_room
from ornstein.datasets.rooms import simulate_room
from ornstein.domains.speech.classical import METHODS
from ornstein.domains.speech.enhancement import load_enhancer
from ornstein.domains.speech.measures import estoi, pesq, si_sdr
from ornstein.domains.speech.mixtures import REMOVE_ROOM, Mixture, load_bank
from ornstein.domains.speech.spectrogram import RATE
from ornstein.domains.speech.streaming import Bridge, Classical, Enhancer, Loudness
from ornstein.domains.speech.training import EnhancerConfiguration, held_out_mixtures, load_unfinished
from ornstein.pipelines.models import find_model

MEASURES = ("pesq", "estoi", "si_sdr")
Method = Callable[[np.ndarray], np.ndarray]


def pairs(folder: Path) -> list[Mixture]:
    """The VoiceBank-DEMAND pairs of a folder with `noisy` and `clean`."""
    names = sorted(path.name for path in (folder / "noisy").glob("*.flac"))
    return [Mixture(read_wave(folder / "noisy" / n, RATE), read_wave(folder / "clean" / n, RATE), 0.0) for n in names]


def rooms(configuration: EnhancerConfiguration, count: int) -> list[Mixture]:
    """Held-out speakers in held-out measured rooms and in simulated ones that no training drew."""
    bank = load_bank(configuration.data, held_out=True, log=lambda text: None)
    random, made = np.random.default_rng(77), []
    for number in range(count):
        waves = bank.speech[number % len(bank.speech)]
        speech = waves[int(random.integers(len(waves)))].astype(np.float32)[: 6 * RATE]
        response = (
            bank.rooms[number % len(bank.rooms)].astype(np.float32) if number % 2 else simulate_room(random, RATE)
        )
        heard, dry = through_room(speech, response, RATE)
        made.append(Mixture(heard, dry, REMOVE_ROOM))
    return made


def rnnoise() -> Method | None:
    """RNNoise, which works at 48 kHz in frames of 10 ms, its delay taken back; None where it is absent."""
    try:
        from pyrnnoise import RNNoise
    except ImportError:
        return None
    from ornstein.datasets.audio import resampled

    def run(wave: np.ndarray) -> np.ndarray:
        denoiser = RNNoise(sample_rate=48_000)
        loud = (resampled(wave, RATE, 48_000).clip(-1, 1) * 32767).astype(np.int16)
        frames = [frame for _, frame in denoiser.denoise_chunk(np.pad(loud, (0, 480 * 3))[None], partial=True)]
        made = np.concatenate(frames, axis=-1).reshape(-1).astype(np.float32) / 32767
        return resampled(made[960:], 48_000, RATE)[: len(wave)]  # its delay is 20 ms

    return run


def ours(enhancer: Enhancer) -> Method:
    """A method of ours on a wave (samples,)."""

    def run(wave: np.ndarray) -> np.ndarray:
        loudness = Loudness()
        loudness.add(wave[None], RATE)
        return np.concatenate([part[0] for part, _ in enhancer.run([wave[None]], RATE, loudness)], axis=1)[0]

    return run


def score(method: Method, mixtures: list[Mixture]) -> np.ndarray:
    """(mixtures, 3): PESQ (NaN where it is not installed), ESTOI, SI-SDR."""
    rows = []
    for noisy, clean, _ in mixtures:
        made = method(noisy)
        quality = pesq(made, clean)
        rows.append([np.nan if quality is None else quality, estoi(made, clean, RATE), si_sdr(made, clean)])
    return np.array(rows)


def interval(difference: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of paired differences (n,)."""
    random = np.random.default_rng(0)
    means = difference[random.integers(len(difference), size=(draws, len(difference)))].mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def compare(title: str, mixtures: list[Mixture], methods: dict[str, Method], model: str | None) -> dict[str, object]:
    """Scores all methods on one set and prints the table."""
    found = {name: score(method, mixtures) for name, method in methods.items()}
    print(f"\n{title}: {len(mixtures)} recordings\n{'':22}" + "".join(f"{name:>9}" for name in MEASURES))
    for name, values in found.items():
        print(f"{name:22}" + "".join(f"{v:9.3f}" for v in values.mean(0)))
    record: dict[str, object] = {
        name: dict(zip(MEASURES, values.mean(0).round(4).tolist())) for name, values in found.items()
    }
    if model in found:
        best, given = found[model], found["input"]
        for name, values in found.items():
            if name != model:
                bounds = [interval(best[:, i] - values[:, i]) for i in range(3)]
                print(f"{model} - {name:14}" + "".join(f"  [{low:+.3f}, {high:+.3f}]" for low, high in bounds))
        gain = best[:, 1] - given[:, 1]
        worst = np.argsort(gain)[: max(1, len(gain) // 10)]
        print(
            f"below its input in ESTOI: {np.mean(gain < 0):.1%}; worst tenth: {best[worst].mean(0).round(3).tolist()}"
        )
        record["below_input"] = float(np.mean(gain < 0))
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--unfinished", action="store_true", help="the last checkpoint of --config's training")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="+", default=[1])
    parser.add_argument("--config", default="workflows/speech/training/speech.yaml")
    parser.add_argument("--pairs", default="../shared/data/speech/vb_train_pairs")
    parser.add_argument("--json")
    given = parser.parse_args()
    settings = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))
    settings.pop("domain")
    configuration = EnhancerConfiguration.parse({**settings, "validation": given.count})
    if given.unfinished:
        denoiser = load_unfinished(configuration)
    else:
        denoiser, _ = load_enhancer(find_model(given.model, "speech").folder)
    torch.manual_seed(0)

    def methods(task: float, classical: tuple[str, ...]) -> dict[str, Method]:
        chosen: dict[str, Method] = {"input": lambda wave: wave}
        chosen |= {name: ours(Enhancer(Classical(METHODS[name]))) for name in classical}
        if task == 0 and (other := rnnoise()):
            chosen["rnnoise"] = other
        chosen |= {f"ornstein, {n} steps": ours(Enhancer(Bridge(denoiser, task, steps=n))) for n in given.steps}
        return chosen

    named = f"ornstein, {given.steps[0]} steps"
    noise = methods(0.0, ("noisereduce", "wiener"))
    record = {"noise": compare("noise at 0 to 15 dB", held_out_mixtures(configuration), noise, named)}
    if Path(given.pairs).is_dir():
        record["pairs"] = compare("VoiceBank-DEMAND pairs", pairs(Path(given.pairs)), noise, named)
    dry = methods(1.0, ("wpe",))
    record["rooms"] = compare("rooms", rooms(configuration, max(1, given.count // 4)), dry, named)
    if given.json:
        Path(given.json).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

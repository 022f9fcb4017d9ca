"""Speech: noise and reverberation removed from recordings, mixtures made to test it, and how good the result is."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

from ornstein.core.errors import InputError, TooLargeError, UsageError
from ornstein.pipelines import models, runtime
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.evaluate import answer
from ornstein.pipelines.options import (
    Device,
    InputFile,
    KeepSamples,
    MaxMemory,
    Model,
    Precision,
    Progress,
    Samples,
    Seed,
    Steps,
)
from ornstein.pipelines.signature import Option
from ornstein.pipelines.speech_results import Enhancement, SpeechSimulation, rounded_off
from ornstein.pipelines.verbs import verb

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ornstein.datasets.audio import Sound
    from ornstein.domains.speech.streaming import Enhancer

READ = (".wav", ".flac", ".ogg", ".mp3")
WRITTEN = (".flac", ".wav", ".ogg", ".mp3")

ROW = 400 << 20
"""Bytes that the network takes for 8 s of one channel and sample, with what the chunk itself needs."""

Band = Annotated[Literal["full", "wide"], Option()]
Mix = Annotated[float, Option(low=0, high=1)]


@verb(inputs=READ, outputs=WRITTEN)
def simulate(
    clean: "str | Path | Sound | Any",
    *,
    noise: InputFile = None,
    snr: Annotated[float, Option(low=-30, high=60)] = 5.0,
    room: InputFile = None,
    reverberation: Annotated[float | None, Option(low=0.1, high=3, none="none")] = None,
    clip: Annotated[float, Option(low=0, high=0.5)] = 0.0,
    band: Annotated[float | None, Option(above=100, none="all", metavar="HZ")] = None,
    target: Annotated[str | None, Option(metavar="FILE")] = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> SpeechSimulation:
    """Makes a noisy or reverberant recording of clean speech.

    Args:
        clean: a sound file, a `Sound`, or a pair (array, rate)
        noise: a sound file, from a random place on and looped; by default speech-shaped noise
        snr: dB between the active level of the speech (ITU-T P.56) and the noise
        room: an impulse response to put the speech into
        reverberation: simulate a room of this reverberation time in s instead
        clip: share of samples that are clipped
        band: cut off what lies above this frequency in Hz
        target: write what should come out as well: without a room the clean speech, with one its direct sound

    Raises:
        InputError: for a file that cannot be read, or speech that is silent.
        UsageError: for options that contradict each other.
    """
    from ornstein.datasets.audio import open_sound

    if room is not None and reverberation is not None:
        raise UsageError("--room and --reverberation contradict each other", "give one of them")
    sound = open_sound(clean)
    options = {"snr": snr, "reverberation": reverberation, "clip": clip, "band": band, "seed": seed}
    return SpeechSimulation(
        sound, None if noise is None else open_sound(noise), None if room is None else open_sound(room), options, target
    )


@verb(inputs=READ, outputs=WRITTEN)
def enhance(
    recording: "str | Path | Sound | Any",
    *,
    method: Literal["diffusion", "wiener", "noisereduce"] = "diffusion",
    band: Band = "full",
    mix: Mix = 1.0,
    samples: Samples = 1,
    keep_samples: KeepSamples = False,
    steps: Steps = 1,
    solver: Literal["bridge"] = "bridge",
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "bf16",
    max_memory: MaxMemory = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> Enhancement:
    """Removes noise from a recording of speech; the room stays.

    Args:
        recording: a sound file of any rate, channels and length, a `Sound`, or a pair (array, rate)
        method: diffusion is the model; the others are classical and need none
        band: full keeps what lies above 8 kHz, attenuated as the model attenuates below; wide drops it
        mix: share of the result, the rest is the recording as it was
        solver: bridge goes from the noisy to the clean spectrogram

    Raises:
        InputError: for a file that cannot be read as sound.
        ModelError: for an unknown or damaged model.
    """
    options = {
        "method": method, "band": band, "mix": mix, "samples": samples, "steps": steps, "seed": seed,
        "precision": precision, "keep_samples": keep_samples,
    }  # fmt: skip
    return _enhancement(recording, 0.0, options, model, device, max_memory, progress)


@verb(inputs=READ, outputs=WRITTEN)
def dereverberate(
    recording: "str | Path | Sound | Any",
    *,
    method: Literal["diffusion", "wpe"] = "diffusion",
    band: Band = "full",
    mix: Mix = 1.0,
    samples: Samples = 1,
    keep_samples: KeepSamples = False,
    steps: Steps = 1,
    solver: Literal["bridge"] = "bridge",
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "bf16",
    max_memory: MaxMemory = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> Enhancement:
    """Removes the room, and noise, from a recording of speech.

    Args:
        recording: a sound file of any rate, channels and length, a `Sound`, or a pair (array, rate)
        method: diffusion is the model; the others are classical and need none
        band: full keeps what lies above 8 kHz, attenuated as the model attenuates below; wide drops it
        mix: share of the result, the rest is the recording as it was
        solver: bridge goes from the reverberant to the dry spectrogram

    Raises:
        InputError: for a file that cannot be read as sound.
        ModelError: for an unknown or damaged model.
    """
    options = {
        "method": method, "band": band, "mix": mix, "samples": samples, "steps": steps, "seed": seed,
        "precision": precision, "keep_samples": keep_samples,
    }  # fmt: skip
    return _enhancement(recording, 1.0, options, model, device, max_memory, progress)


def evaluate(
    result: "str | Path | Sound | Any",
    reference: "str | Path | Sound | Any",
    *,
    input: InputFile = None,
) -> Answer:
    """Compares speech with its clean reference: PESQ, ESTOI, SI-SDR, spectra below and above 8 kHz.

    Args:
        result: the recording to judge
        reference: the speech that it should be
        input: the recording before: what is left of its noise (SI-SIR), what was added to it (SI-SAR)
    """
    from ornstein.datasets.audio import open_sound
    from ornstein.domains.speech.measures import measure

    sounds = [open_sound(sound) for sound in (result, reference, *([] if input is None else [input]))]
    rates = {sound.format.rate for sound in sounds}
    if len(rates) > 1:
        raise InputError(f"{sounds[0].name}: the rates differ, {sorted(rates)} Hz", "resample one to the other first")
    waves = [_whole(sound) for sound in sounds]
    channels, samples = {w.shape[0] for w in waves}, {w.shape[1] for w in waves}
    if len(channels) > 1 or max(samples) - min(samples) > 0.05 * rates.copy().pop():
        raise InputError(
            f"{sounds[0].name}: {waves[0].shape[1]} samples in {waves[0].shape[0]} channels, "
            f"the reference {waves[1].shape[1]} in {waves[1].shape[0]}",
            "compare recordings of one length",
        )
    cut = [w[:, : min(samples)] for w in waves]
    notes = [] if len(samples) == 1 else [f"lengths differ: the first {min(samples)} samples were compared"]
    measures, more = measure(cut[0], cut[1], rates.pop(), cut[2] if input is not None else None)
    return answer(sounds[0].name, sounds[1].name, measures, {"warnings": notes + more})


def train_model(settings: dict[str, Any], device: "torch.device", log: Callable[[str], None]) -> Path:
    """Trains a speech model from the settings of a configuration file; the folder of the model."""
    from ornstein.domains.speech.training import EnhancerConfiguration, train_enhancer

    return train_enhancer(EnhancerConfiguration.parse(settings), device=device, log=log)


VERBS = (simulate, enhance, dereverberate)
PIPED = ("enhance", "dereverberate")
"""The verbs that `pipe` can do."""


def _enhancement(
    recording: Any,
    task: float,
    options: dict[str, Any],
    model: str | None,
    device: str,
    max_memory: float | None,
    progress: Any,
) -> Enhancement:
    """The lazy result: the recording is heard through once for its level, and worked on when it is written or read."""
    from ornstein.datasets.audio import open_sound

    sound = open_sound(recording)
    seconds = sound.samples / sound.format.rate
    tell = None if progress is None else lambda done: progress(min(done, seconds), seconds)
    enhancer, chosen = _enhancer(task, options, model, device, max_memory, tell)
    made = Enhancement(sound, enhancer)
    made.model = None if chosen is None else chosen.identity
    return made


def _enhancer(
    task: float,
    options: Mapping[str, Any],
    model: str | None,
    device: str,
    max_memory: float | None,
    progress: Callable[[float], None] | None = None,
) -> "tuple[Enhancer, models.Model | None]":
    """The chosen method, ready for sound, and its model where it has one."""
    from ornstein.domains.speech.classical import METHODS
    from ornstein.domains.speech.enhancement import load_enhancer
    from ornstein.domains.speech.streaming import Bridge, Classical, Enhancer, Method

    if model is not None and options["method"] != "diffusion":
        raise UsageError(
            f"--model and --method {options['method']} contradict each other", "only --method diffusion uses a model"
        )
    if options["samples"] > 1 and options["steps"] == 1:
        raise UsageError("--samples needs --steps of 2 or more", "a single step has no noise: all samples would be one")
    if options["keep_samples"] and options["samples"] == 1:
        raise UsageError("--keep-samples needs --samples of 2 or more", "a single sample is the result itself")
    place = runtime.choose_device(device)
    runtime.check_precision(options["precision"], place)
    at_once = runtime.memory_budget(max_memory, place) // ROW
    if at_once < 1:
        raise TooLargeError("a chunk of 8 s needs about 0.4 GB", "allow more with --max-memory")
    chosen = models.find_model(model, "speech") if options["method"] == "diffusion" else None
    method: Method
    if chosen is not None:
        denoiser, _ = load_enhancer(chosen.folder, place)
        sampling = {name: options[name] for name in ("steps", "samples", "seed", "precision")}
        method = Bridge(denoiser, task, **sampling, keep=options["keep_samples"], at_once=min(int(at_once), 8))
    else:
        method = Classical(METHODS[options["method"]])
    return Enhancer(method, mix=options["mix"], wide=options["band"] == "wide", progress=progress), chosen


def pipe(verb: str, source: BinaryIO, target: BinaryIO, options: Mapping[str, Any]) -> dict[str, Any]:
    """Enhances a WAV stream as it comes, flushed chunk by chunk (8 s); the summary.

    Args:
        verb: `enhance` or `dereverberate`.
        source, target: the streams.
        options: of the verb.

    Raises:
        InputError: for a stream that is no WAV.
    """
    from ornstein.datasets.wav_stream import encode_block, read_blocks, read_header
    from ornstein.domains.speech.streaming import Loudness

    if options["keep_samples"]:
        raise UsageError("--keep-samples has nowhere to write to with -", "give input and output as files")
    header = read_header(source)
    task = {"enhance": 0.0, "dereverberate": 1.0}[verb]
    enhancer, chosen = _enhancer(task, options, options["model"], options["device"], options["max_memory"])
    loudness, samples = Loudness(), 0

    def heard() -> "Iterator[np.ndarray]":
        for block in read_blocks(source, header):
            loudness.add(block, header.format.rate)
            yield block

    target.write(header.encode())
    floating = header.format.subtype in ("FLOAT", "DOUBLE")
    for (block, *_), _ in enhancer.run(heard(), header.format.rate, loudness):
        target.write(encode_block(block if floating else rounded_off(block), header))
        target.flush()
        samples += block.shape[1]
    return {
        "model": None if chosen is None else chosen.identity,
        "parameters": dict(options),
        "measures": {"seconds_of_sound": samples / header.format.rate, "rate": header.format.rate},
        "warnings": [],
    }


def _whole(sound: "Sound") -> "np.ndarray":
    import numpy as np

    return np.concatenate(list(sound.blocks(60.0)), axis=1)

"""What the speech pipelines give back: enhanced recordings and simulated ones, made while they are written."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ornstein.pipelines import outputs
from ornstein.pipelines.results import Result
from ornstein.pipelines.speech_pictures import EXCERPT, flac, spectrograms

if TYPE_CHECKING:
    import numpy as np

    from ornstein.datasets.audio import Sound
    from ornstein.domains.speech.streaming import Enhancer
    from ornstein.pipelines.report import Report

LITTLE_LEFT = -12.0
"""dB of the recording's energy below which hardly anything in it was speech."""
STEADY = 0.46
"""The `Steadiness` of a result above which it is music or a hum: between the highest of speech and the lowest of music in
benchmarks/speech_properties.py."""


class Enhancement(Result):
    """An enhanced recording: read, worked on and written in chunks, so that its length costs no memory.

    Attributes:
        sound: the recording as it was.
    """

    title = "Speech enhancement"

    def __init__(self, sound: "Sound", enhancer: "Enhancer") -> None:
        from ornstein.domains.speech.streaming import Loudness

        super().__init__()
        self.sound, self._enhancer, self._loudness = sound, enhancer, Loudness()
        self._excerpt: list[tuple[np.ndarray, np.ndarray]] = []
        bandwidth = _Bandwidth(sound.format.rate)
        for block in sound.blocks():  # the whole file is heard before any work: what is damaged is known at once
            self._loudness.add(block, sound.format.rate)
            bandwidth.add(block)
        self.measures = {
            "seconds_of_sound": sound.samples / sound.format.rate,
            "rate": sound.format.rate,
            "channels": sound.format.channels,
            "bandwidth_hz": bandwidth.value,
        }
        if self._loudness.value == 0:
            self.warnings.append("the recording is silent, and stays so")

    @property
    def rate(self) -> int:
        """Samples a second of the result: the recording's own."""
        return self.sound.format.rate

    @property
    def wave(self) -> "np.ndarray":
        """All of the result in memory, (channels, samples) in float32."""
        import numpy as np

        return np.concatenate([block[0] for block, _ in self._blocks()], axis=1)

    def write(self, path: Path) -> None:
        import numpy as np

        from ornstein.datasets.audio import sound_writer

        deviations = []
        kept = [outputs.sibling(path, f"sample-{n}") for n in range(1, self._enhancer.method.versions)]
        with contextlib.ExitStack() as files:
            writers = [files.enter_context(sound_writer(place, self.sound.format)) for place in (path, *kept)]
            floating = self.sound.format.subtype_for(path.suffix.lower()) in ("FLOAT", "DOUBLE")
            for block, deviation in self._blocks():
                for append, version in zip(writers, block, strict=True):
                    append(version if floating else rounded_off(version))
                if deviation.shape[2]:
                    deviations.append(deviation.astype(np.float16))
        if deviations:
            np.save(outputs.sibling(path, "std").with_suffix(".npy"), np.concatenate(deviations, axis=2))

    def describe(self, report: "Report") -> None:
        """Spectrograms and players of the first seconds, before and after."""
        if not self._excerpt:
            for _ in self._blocks():
                if self._heard() >= EXCERPT:
                    break
        import numpy as np

        pair = [np.concatenate([part[i] for part in self._excerpt], axis=1)[0] for i in (0, 1)]
        pair = [wave[: int(EXCERPT * self.rate)] for wave in pair]
        report.section("The recording").picture(
            spectrograms(pair, self.rate, ["before", "after"]),
            f"The first {len(pair[0]) / self.rate:.3g} s, first channel.",
        )
        for wave, name in zip(pair, ("before", "after")):
            report.sound(flac(wave, self.rate), name)

    def _blocks(self) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
        """The result in chunks of all versions, each with its deviation; notes measures and the excerpt on the way."""
        import numpy as np

        from ornstein.datasets.audio import Sound
        from ornstein.domains.speech.steadiness import Steadiness

        self._excerpt = []
        before, after, at, steadiness = 0.0, 0.0, 0, Steadiness()
        source: Iterator[np.ndarray] = self.sound.blocks()
        held: list[np.ndarray] = []

        def drawn() -> "Iterator[np.ndarray]":
            for block in source:
                held.append(block)
                yield block

        assert isinstance(self.sound, Sound)
        for block, deviation in self._enhancer.run(drawn(), self.rate, self._loudness):
            was, length = np.concatenate(held, axis=1), block.shape[2]
            held[:] = [was[:, length:]]
            was = was[:, :length]
            before, after, at = before + _energy(was), after + _energy(block[0]), at + length
            steadiness.add(block[0], self.rate)
            if self._heard() < EXCERPT:
                self._excerpt.append((was, block[0]))
            yield block, deviation
        assert at == self.sound.samples, f"{at} samples were made of {self.sound.samples}"
        self._tell(before, after, steadiness.value)

    def _heard(self) -> float:
        return sum(part[0].shape[1] for part in self._excerpt) / self.rate

    def _tell(self, before: float, after: float, steadiness: float | None) -> None:
        import numpy as np

        if before > 0:
            self.measures["energy_kept_db"] = float(10 * np.log10(max(after, 1e-30) / before))
            self.measures["steadiness"] = steadiness
            found = []
            if self.measures["energy_kept_db"] < LITTLE_LEFT:
                found.append("hardly anything in the recording was taken for speech")
            if steadiness is not None and steadiness > STEADY:
                found.append("what is left holds its pitches as music does: the model was made for speech")
            self.warnings += [text for text in found if text not in self.warnings]


class SpeechSimulation(Result):
    """A simulated recording.

    Attributes:
        noisy: what is heard, (channels, samples) in float32.
        target: what should come of it, like noisy.
        rate: samples a second.
    """

    title = "Simulated recording"

    def __init__(
        self,
        clean: "Sound",
        noise: "Sound | None",
        room: "Sound | None",
        options: dict[str, Any],
        target_path: str | None,
    ) -> None:
        from ornstein.domains.speech.simulation import simulate_recording

        super().__init__()
        self.format, self.rate = clean.format, clean.format.rate
        self.noisy, self.target = simulate_recording(clean, noise, room, **options)
        if target_path is not None:
            self.further = {Path(target_path): (".flac", ".wav", ".ogg", ".mp3")}
        from ornstein.domains.speech.measures import si_sdr

        self.measures = {"si_sdr": float(si_sdr(self.noisy[0], self.target[0]))}

    def write(self, path: Path) -> None:
        from ornstein.datasets.audio import sound_writer

        with sound_writer(path, self.format) as append:
            append(self.noisy)
        for place in self.further:
            with outputs.staged(place, overwrite=True) as staging, sound_writer(staging, self.format) as append:
                append(self.target)

    def describe(self, report: "Report") -> None:
        """Spectrograms and players of the target and the mixture."""
        waves = [w[0, : int(EXCERPT * self.rate)] for w in (self.target, self.noisy)]
        names = ["target", "recording"]
        report.section("The recording").picture(spectrograms(waves, self.rate, names), "The first seconds.")
        for wave, name in zip(waves, names):
            report.sound(flac(wave, self.rate), name)


class _Bandwidth:
    """Up to where a recording has something, in Hz: its long-term spectrum within 60 dB of its maximum."""

    def __init__(self, rate: int, n: int = 1024) -> None:
        import numpy as np

        self._rate, self._n, self._power = rate, n, np.zeros(n // 2 + 1)
        self._window = np.hanning(n)

    def add(self, block: "np.ndarray") -> None:
        import numpy as np

        mono = block.mean(0)
        mono = np.pad(mono, (0, -len(mono) % self._n)).reshape(-1, self._n)
        self._power += np.square(np.abs(np.fft.rfft(mono * self._window))).sum(0)

    @property
    def value(self) -> float | None:
        import numpy as np

        present = np.flatnonzero(self._power > 1e-6 * self._power.max())
        return float(present[-1] * self._rate / self._n) if self._power.max() > 0 else None


def rounded_off(block: "np.ndarray") -> "np.ndarray":
    """Peaks above 0.95 bent so that none is beyond 1: integers clip there."""
    import numpy as np

    if np.abs(block).max(initial=0) <= 0.999:
        return block
    beyond = np.maximum(np.abs(block) - 0.95, 0)
    return np.where(beyond > 0, np.sign(block) * (0.95 + 0.049 * np.tanh(beyond / 0.049)), block).astype(np.float32)


def _energy(wave: "np.ndarray") -> float:
    import numpy as np

    return float(np.square(wave, dtype=np.float64).sum())

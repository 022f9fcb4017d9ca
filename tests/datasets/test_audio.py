"""Sound files come back as they went in, and what is no sound is named."""

import numpy as np
import pytest
import soundfile

from ornstein.core.errors import InputError
from ornstein.datasets.audio import Format, open_sound, resampled, sound_writer


@pytest.mark.parametrize("rate", [8000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", "PCM_24")]
)
def test_written_sound_is_read_back_in_its_format(tmp_path, rate, channels, suffix, subtype):
    wave = (0.3 * np.random.default_rng(0).standard_normal((channels, rate + 17))).clip(-0.99, 0.99).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    with sound_writer(path, Format(rate, channels, subtype)) as append:
        append(wave[:, :1000])
        append(wave[:, 1000:])
    sound = open_sound(path)
    assert sound.format == Format(rate, channels, subtype)
    assert sound.samples == rate + 17
    steps = {"PCM_16": 2**-15, "PCM_24": 2**-23, "FLOAT": 1e-9}[subtype]  # one quantisation step
    np.testing.assert_allclose(np.concatenate(list(sound.blocks(0.3)), axis=1), wave, atol=steps)


def test_lossless_subtypes_are_kept_where_the_container_has_them():
    assert Format(16_000, 1, "FLOAT").subtype_for(".wav") == "FLOAT"
    assert Format(16_000, 1, "FLOAT").subtype_for(".flac") == "PCM_24"
    assert Format(16_000, 1, "PCM_16").subtype_for(".ogg") == "VORBIS"
    assert Format(16_000, 1, "VORBIS").subtype_for(".flac") == "PCM_16"


def _nan(path):
    wave = np.zeros(4000, np.float32)
    wave[77] = np.nan
    soundfile.write(path, wave, 16_000, subtype="FLOAT")


def _cut(path):
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64_000), 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"this is not what it says\n" * 40),
    "one sample": lambda path: soundfile.write(path, np.zeros(1), 16_000),
    "50 channels": lambda path: soundfile.write(path, np.zeros((4000, 50)), 16_000),
    "not a number": _nan,
    "cut off": _cut,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_sound_is_refused_by_its_name(tmp_path, kind):
    path = tmp_path / "broken.wav"
    BROKEN[kind](path)
    with pytest.raises(InputError, match=r"broken\.wav"):
        list(open_sound(path).blocks())


def test_arrays_of_integers_are_full_scale_at_one():
    sound = open_sound((np.array([16384] * 1000, np.int16), 16_000))
    assert next(sound.blocks())[0, 0] == 0.5


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_resampling_has_no_delay(rate):
    time = np.arange(rate) / rate
    pulse = np.exp(-(((time - 0.5) / 0.004) ** 2)).astype(np.float32)
    there = resampled(pulse, rate, 16_000)
    assert there.argmax() == 8000
    # 4 ms are wide enough for both rates to hold the pulse; what is left is the filter's ripple.
    np.testing.assert_allclose(resampled(there, 16_000, rate)[:rate], pulse, atol=2e-3)

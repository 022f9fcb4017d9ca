"""Recordings through the command line: what comes back has their format, and what is wrong is named."""

import io
import json

import numpy as np
import pytest
import soundfile
import torch

from ornstein.core.checkpoints import save_model
from ornstein.core.errors import InputError, UsageError
from ornstein.domains.speech.enhancement import build
from ornstein.pipelines import speech

RATE = 16_000
TINY = {"channels": [8, 8], "blocks": 1, "hidden": 8, "narrow": 4, "embedding": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that takes half of everything away."""
    folder = tmp_path_factory.mktemp("model")
    denoiser = build(TINY, 0.1)
    with torch.no_grad():
        denoiser.network.last.bias[0] = 0.5**0.5 - 1  # of the mask on compressed spectra
    save_model(
        folder, denoiser.network.state_dict(), {"name": "half", "domain": "speech", "architecture": TINY, "sigma": 0.1}
    )
    return str(folder)


@pytest.fixture
def ornstein(ornstein, monkeypatch):
    """The command line, with speech among its domains."""
    from ornstein.pipelines import cli

    monkeypatch.setitem(cli.DOMAINS, "speech", "recordings")
    return ornstein


def recording(path, rate=RATE, channels=1, seconds=0.7, subtype="PCM_16", seed=0):
    wave = 0.1 * np.random.default_rng(seed).standard_normal((round(rate * seconds) + 3, channels))
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(("channels", "subtype"), [(1, "PCM_16"), (2, "PCM_24"), (1, "FLOAT")])
def test_enhanced_file_keeps_rate_channels_subtype_and_length(tmp_path, model, rate, channels, subtype):
    source = recording(tmp_path / "in.wav", rate, channels, subtype=subtype)
    speech.enhance(str(source), model=model).save(tmp_path / "out.wav")
    before, after = soundfile.info(source), soundfile.info(tmp_path / "out.wav")
    for name in ("samplerate", "channels", "subtype", "frames"):
        assert getattr(after, name) == getattr(before, name), name


def test_result_is_the_models_answer_without_delay(tmp_path, model):
    source = recording(tmp_path / "in.wav", subtype="FLOAT", seconds=10.0)
    result = speech.enhance(str(source), model=model, precision="fp32")
    wave = soundfile.read(source)[0]
    np.testing.assert_allclose(result.wave[0], 0.5 * wave, atol=1e-5)
    assert result.measures["energy_kept_db"] == pytest.approx(-6.02, abs=0.01)


def test_array_and_file_give_the_same(tmp_path, model):
    source = recording(tmp_path / "in.wav", subtype="FLOAT")
    wave, rate = soundfile.read(source, dtype="float32")
    by_file = speech.enhance(source, model=model).wave
    np.testing.assert_array_equal(by_file, speech.enhance((wave, rate), model=model).wave)
    np.testing.assert_array_equal(by_file, speech.enhance((torch.from_numpy(wave), rate), model=model).wave)


def test_same_seed_gives_the_same_bytes(tmp_path, model):
    source = recording(tmp_path / "in.wav")
    for name in ("a.flac", "b.flac"):
        speech.enhance(str(source), model=model, steps=3).save(tmp_path / name)
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


def test_samples_write_their_deviation_beside(tmp_path, model):
    source = recording(tmp_path / "in.wav")
    speech.enhance(str(source), model=model, steps=2, samples=3).save(tmp_path / "out.wav")
    deviation = np.load(tmp_path / "out-std.npy", allow_pickle=False)
    assert deviation.shape[:2] == (1, 256)
    assert np.isfinite(deviation).all()


def test_samples_of_a_single_step_would_all_be_one(tmp_path, model):
    with pytest.raises(UsageError, match="--steps"):
        speech.enhance(str(recording(tmp_path / "in.wav")), model=model, samples=2)


def test_silence_comes_back_as_silence_with_a_warning(tmp_path, model):
    soundfile.write(tmp_path / "in.wav", np.zeros(9000), RATE)
    result = speech.enhance(str(tmp_path / "in.wav"), model=model)
    result.save(tmp_path / "out.wav")
    assert not soundfile.read(tmp_path / "out.wav")[0].any()
    assert "silent" in result.warnings[0]


def test_full_scale_input_does_not_clip_more_than_it_did(tmp_path, model):
    wave = np.clip(0.9 * np.random.default_rng(0).standard_normal(RATE), -0.998, 0.998)
    soundfile.write(tmp_path / "in.wav", wave, RATE)
    made = speech.enhance(str(tmp_path / "in.wav"), model=model)
    made.save(tmp_path / "out.wav")
    assert np.abs(soundfile.read(tmp_path / "out.wav")[0]).max() < 0.999


@pytest.mark.parametrize(
    ("verb", "method"), [("enhance", "wiener"), ("enhance", "noisereduce"), ("dereverberate", "wpe")]
)
def test_classical_methods_need_no_model(tmp_path, ornstein, verb, method):
    source = recording(tmp_path / "in.wav", seconds=2.0)
    code, _, err = ornstein("speech", verb, source, "-o", tmp_path / "out.wav", "--method", method)
    assert code == 0, err
    assert json.loads((tmp_path / "out.wav.json").read_text())["model"] is None


def test_model_and_classical_method_contradict_each_other(tmp_path, model):
    with pytest.raises(UsageError, match="--model"):
        speech.enhance(str(recording(tmp_path / "in.wav")), method="wiener", model=model)


def test_folder_keeps_its_paths_and_tells_what_failed(tmp_path, model, ornstein):
    (tmp_path / "in/deep").mkdir(parents=True)
    recording(tmp_path / "in/a.wav")
    recording(tmp_path / "in/deep/b.flac")
    (tmp_path / "in/c.wav").write_bytes(b"")
    soundfile.write(tmp_path / "in/d.wav", np.zeros(1), RATE)
    code, _, err = ornstein("speech", "enhance", tmp_path / "in", "-o", tmp_path / "out", "--model", model)
    assert code == 7
    made = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.flac"))
    assert made == ["a.flac", "deep/b.flac"]
    assert "c.wav" in err
    assert "d.wav" in err


def test_damaged_file_is_code_3_and_leaves_nothing(tmp_path, model, ornstein):
    source = recording(tmp_path / "in.flac", seconds=3.0)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 3])
    code, _, err = ornstein("speech", "enhance", source, "-o", tmp_path / "out.flac", "--model", model)
    assert code == 3
    assert "in.flac" in err
    assert [p.name for p in tmp_path.iterdir()] == ["in.flac"]


def test_report_shows_and_plays_both(tmp_path, model, ornstein):
    source = recording(tmp_path / "in.wav")
    report = tmp_path / "r.html"
    code, _, err = ornstein(
        "speech", "enhance", source, "-o", tmp_path / "out.wav", "--model", model, "--report", report
    )
    assert code == 0, err
    page = report.read_text()
    assert page.count("data:audio/flac") == 2
    assert "data:image/png" in page


def test_simulated_recording_has_its_ratio_and_its_target(tmp_path, ornstein):
    time = np.arange(2 * RATE) / RATE
    soundfile.write(tmp_path / "clean.flac", 0.3 * np.sin(2 * np.pi * 300 * time), RATE)
    recording(tmp_path / "noise.wav")
    code, _, err = ornstein(
        "speech", "simulate", tmp_path / "clean.flac", "-o", tmp_path / "noisy.wav", "--noise", tmp_path / "noise.wav",
        "--snr", 5, "--target", tmp_path / "target.wav",
    )  # fmt: skip
    assert code == 0, err
    code, out, _ = ornstein("evaluate", "speech", tmp_path / "noisy.wav", tmp_path / "target.wav", "--json")
    assert code == 0
    # A steady tone is active all the time: its SI-SDR is the ratio, but for the tone's share in 2 s of noise.
    assert json.loads(out)["si_sdr"] == pytest.approx(5.0, abs=0.3)


@pytest.mark.parametrize("room", ["file", "simulated"])
def test_target_of_a_room_is_its_direct_sound(tmp_path, room):
    clean = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    response = np.zeros(4000)
    response[[50, 2000]] = 0.8, 0.4
    soundfile.write(tmp_path / "room.wav", response, RATE)
    options = {"room": str(tmp_path / "room.wav")} if room == "file" else {"reverberation": 0.3}
    made = speech.simulate((clean, RATE), snr=60.0, **options)
    if room == "file":
        np.testing.assert_allclose(made.target[0], clean, atol=1e-5)
    assert np.square(made.noisy - made.target).sum() > 0.05 * np.square(made.target).sum()


def test_recordings_that_cannot_be_compared_are_refused(tmp_path):
    a, b = recording(tmp_path / "a.wav"), recording(tmp_path / "b.wav", rate=8000)
    with pytest.raises(InputError, match="rates differ"):
        speech.evaluate(str(a), str(b))


def test_evaluation_says_how_far_the_input_was(tmp_path):
    time = np.arange(2 * RATE) / RATE
    clean = (0.2 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    soundfile.write(tmp_path / "noisy.wav", noisy, RATE, subtype="FLOAT")
    found = speech.evaluate((0.5 * clean + 0.5 * noisy, RATE), (clean, RATE), input=str(tmp_path / "noisy.wav")).record
    assert found["si_sdr"] == pytest.approx(found["si_sdr_input"] + 6.02, abs=0.05)
    assert found["si_sir"] == pytest.approx(found["si_sdr"], abs=0.05)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_pipe_gives_what_files_give(tmp_path, model, monkeypatch, subtype):
    source = recording(tmp_path / "in.wav", 44_100, 2, 10.0, subtype)
    options = speech.enhance.check({"model": model, "precision": "fp32"})
    made = io.BytesIO()
    summary = speech.pipe("enhance", io.BytesIO(source.read_bytes()), made, options)
    (tmp_path / "out.wav").write_bytes(made.getvalue())
    before, after = soundfile.info(source), soundfile.info(tmp_path / "out.wav")
    assert (after.samplerate, after.channels, after.subtype, after.frames) == (44_100, 2, subtype, before.frames)
    assert summary["measures"]["seconds_of_sound"] == pytest.approx(10.0, abs=1e-3)
    wave = soundfile.read(source)[0]
    np.testing.assert_allclose(soundfile.read(tmp_path / "out.wav")[0], 0.5 * wave, atol=5e-5)  # one 16-bit step


def test_pipe_refuses_what_is_no_wav_stream(model):
    options = speech.enhance.check({"model": model})
    for data in (b"", b"hello", b"RIFFxxxxWAVEdata\x00\x00\x00\x00", b"fLaC" + bytes(100)):
        with pytest.raises(InputError, match="standard input"):
            speech.pipe("enhance", io.BytesIO(data), io.BytesIO(), options)


def test_pipe_needs_both_ends(ornstein, tmp_path):
    code, _, err = ornstein("speech", "enhance", "-", "-o", tmp_path / "out.wav")
    assert code == 2
    assert "-o -" in err
    code, _, err = ornstein("speech", "simulate", "-", "-o", "-")
    assert code == 2
    assert "name files" in err


def test_a_target_that_is_there_is_kept_unless_overwriting(tmp_path, ornstein):
    clean, target = recording(tmp_path / "c.wav"), tmp_path / "t.wav"
    target.write_bytes(b"mine")
    line = ["speech", "simulate", str(clean), "-o", str(tmp_path / "n.wav"), "--target", str(target)]
    assert ornstein(*line)[0] == 2
    assert target.read_bytes() == b"mine" and not (tmp_path / "n.wav").exists()
    assert ornstein(*line, "--overwrite")[0] == 0
    assert soundfile.info(target).frames == soundfile.info(clean).frames


def test_kept_samples_are_written_beside_the_result(tmp_path, ornstein, model):
    source = recording(tmp_path / "in.wav")
    line = ["speech", "enhance", str(source), "-o", str(tmp_path / "out.wav"), "--model", model]
    assert ornstein(*line, "--keep-samples")[0] == 2
    assert ornstein(*line, "--steps", "2", "--samples", "2", "--keep-samples")[0] == 0
    frames = soundfile.info(source).frames
    assert [soundfile.info(tmp_path / f"out-sample-{n}.wav").frames for n in (1, 2)] == [frames, frames]

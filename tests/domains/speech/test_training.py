"""Training on mixtures: what is drawn, what is learnt, and that it goes on where it stopped."""

import numpy as np
import pytest
import soundfile
import torch
import yaml

from ornstein.core.errors import InputError, UsageError
from ornstein.domains.speech.enhancement import build, load_enhancer
from ornstein.domains.speech.mixtures import Mixtures, Recipe, Sounds, load_bank, speaker
from ornstein.domains.speech.training import (
    EnhancementLoss,
    EnhancerConfiguration,
    LossWeights,
    load_unfinished,
    train_enhancer,
)

RATE = 16_000
TINY = {"channels": [8, 8], "blocks": 1, "hidden": 8, "narrow": 4}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    time = np.arange(2 * RATE) / RATE
    for number in range(4):
        tone = np.sin(2 * np.pi * (200 + 90 * number) * time) * (np.sin(2 * np.pi * 3 * time) > 0)
        soundfile.write(folder / f"s{number}-1.flac", 0.4 * tone, RATE)
        soundfile.write(folder / f"n{number}.wav", 0.2 * random.standard_normal(RATE), RATE)
        response = random.standard_normal(2000) * np.exp(-np.arange(2000) / 300)
        response[20] = 4.0
        soundfile.write(folder / f"r{number}.wav", response / 5, RATE)
    return {
        "speech": f"{folder}/s*.flac",
        "noise": f"{folder}/n*.wav",
        "rooms": f"{folder}/r*.wav",
        "held_out": ["s3*", "n3*", "r3*"],
    }


def bank(sounds, **options):
    return load_bank(Sounds(**{**sounds, "held_out": tuple(sounds["held_out"])}), log=lambda text: None, **options)


def test_what_is_held_out_is_never_in_the_bank(sounds):
    training, kept = bank(sounds), bank(sounds, held_out=True)
    assert [len(training.speech), len(training.noise), len(training.rooms)] == [3, 3, 3]
    assert [len(kept.speech), len(kept.noise), len(kept.rooms)] == [1, 1, 1]
    assert not any(np.array_equal(kept.noise[0], wave) for wave in training.noise)
    with pytest.raises(InputError, match="held out"):
        bank({**sounds, "held_out": []}, held_out=True)


def test_speakers_are_read_from_names():
    assert speaker("clean/p226_049.flac") == "p226"
    assert speaker("clean/1284_1180_000029_000001.flac") == speaker("1284-1180-0001.flac") == "1284"


def test_a_step_always_draws_the_same_mixtures(sounds):
    mixtures = Mixtures(bank(sounds), Recipe(seconds=0.5, batch=6))
    one, same, other = (mixtures(0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["noisy"], other["noisy"])
    assert one["noisy"].shape == one["clean"].shape == (6, RATE // 2)


def test_tasks_differ_in_what_stays_of_the_room(sounds):
    silent = {"alone": 1.0, "silent": 0, "clipped": 0, "narrow": 0, "seconds": 0.5}
    keep = Mixtures(bank(sounds), Recipe(dereverberation=0, room=1.0, **silent))
    drawn = keep.draw(np.random.default_rng(0))
    np.testing.assert_allclose(drawn.clean, drawn.noisy, atol=1e-6)
    remove = Mixtures(bank(sounds), Recipe(dereverberation=1.0, **silent)).draw(np.random.default_rng(1))
    assert remove.task == 1.0
    assert np.square(remove.noisy - remove.clean).sum() > 0.01 * np.square(remove.clean).sum()


def test_loss_is_least_for_the_clean_spectrum():
    loss = EnhancementLoss(0.5, LossWeights())
    clean = 0.06 * torch.randn(3, RATE) * (torch.arange(RATE) % 4000 < 2000)
    x0 = loss.spectrogram.forward(clean)
    best = loss.distance(x0, x0, clean)
    for worse in (x0 + 0.01 * torch.randn(x0.shape), 0.9 * x0, torch.zeros_like(x0)):
        assert (loss.distance(worse, x0, clean) > best).all()
    assert torch.isfinite(loss.distance(x0, x0, torch.zeros_like(clean))).all()


def test_half_of_the_times_are_the_start_of_the_bridge():
    seen = []

    class Spy(type(build(TINY, 0.1))):
        def forward(self, x_t, t, y=None, **conditions):
            seen.append(t)
            return super().forward(x_t, t, y, **conditions)

    whole = build(TINY, 0.1)
    spy = Spy(whole.network, whole.path)
    wave = 0.06 * torch.randn(16, RATE // 2)
    tensors = {"clean": wave, "noisy": wave, "task": torch.zeros(16)}
    EnhancementLoss(0.5, LossWeights())(spy, tensors, torch.Generator().manual_seed(0))
    assert (seen[0] == 1).sum() == 8
    assert seen[0].min() >= 1e-3


def settings(sounds, folder, **training):
    return {
        "output": str(folder), "name": "tiny", "data": sounds, "simulated_rooms": 0, "validation": 2,
        "channels": [8, 8], "blocks": 1, "hidden": 8, "narrow": 4,
        "recipe": {"seconds": 0.6, "batch": 4, "dereverberation": 0, "room": 0, "clipped": 0, "narrow": 0},
        "training": {"learning_rate": 0.005, "warmup": 5, "precision": "fp32", "average": 5, **training},
    }  # fmt: skip


def test_training_removes_noise_and_its_model_loads(sounds, tmp_path):
    lines = []
    c = EnhancerConfiguration.parse(settings(sounds, tmp_path / "m", steps=40, log_every=10))
    folder = train_enhancer(c, log=lines.append)
    denoiser, card = load_enhancer(folder)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.5
    scores = card["held_out_scores"]
    assert scores["si_sdr"] > scores["si_sdr_input"] + 1
    assert not denoiser.training


def test_interrupted_training_ends_with_the_same_weights(sounds, tmp_path):
    whole = EnhancerConfiguration.parse({**settings(sounds, tmp_path / "a", steps=4), "validation": 0})
    parts = EnhancerConfiguration.parse({**settings(sounds, tmp_path / "b", steps=4), "validation": 0})
    quiet = lambda text: None  # noqa: E731
    train_enhancer(whole, log=quiet)
    train_enhancer(parts, log=quiet, stop_after=2)
    train_enhancer(parts, log=quiet)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sigma": 0}, "sigma"),
        ({"patch": 3}, "patch"),
        ({"recipe": {"room": 2}}, "room"),
        ({"loss": {"wave": -1}}, "wave"),
        ({"colour": 1}, "colour"),
    ],
)
def test_impossible_settings_are_named_before_work_starts(sounds, tmp_path, change, named):
    with pytest.raises(UsageError, match=named):
        EnhancerConfiguration.parse({**settings(sounds, tmp_path), **change})


def test_unfinished_training_can_be_listened_to(sounds, tmp_path):
    c = EnhancerConfiguration.parse({**settings(sounds, tmp_path / "m", steps=4), "validation": 0})
    train_enhancer(c, log=lambda text: None, stop_after=2)
    y = torch.randn(1, 2, 256, 5)
    half = load_unfinished(c)(y, torch.ones(1), y, task=torch.zeros(1))
    train_enhancer(c, log=lambda text: None)
    assert not torch.equal(half, load_unfinished(c)(y, torch.ones(1), y, task=torch.zeros(1)))


@pytest.mark.parametrize(("recipe", "least", "most"), [("speech", 1e6, 4e6), ("full-size", 60e6, 70e6)])
def test_shipped_recipes_are_configurations_of_their_size(repository, recipe, least, most):
    values = yaml.safe_load((repository / f"workflows/speech/training/{recipe}.yaml").read_text(encoding="utf-8"))
    assert values.pop("domain") == "speech"
    c = EnhancerConfiguration.parse(values)
    with torch.device("meta"):
        assert least < sum(p.numel() for p in build(c.architecture, c.sigma).parameters()) < most


@pytest.fixture
def paired(sounds, tmp_path):
    """The sounds, with pairs of equal names of which the noisy one is twice the clean one."""
    wave = 0.2 * np.random.default_rng(0).standard_normal(RATE)
    for kind, gain in (("noisy", 1.0), ("clean", 0.5)):
        (tmp_path / kind).mkdir()
        for name in ("a.wav", "b.wav", "s3-held.wav"):
            soundfile.write(tmp_path / kind / name, gain * wave, RATE)
    return {**sounds, "noisy": f"{tmp_path}/noisy/*.wav", "clean": f"{tmp_path}/clean/*.wav"}


def test_pairs_are_cut_together_and_held_out_by_name(paired):
    found = bank(paired)
    assert len(found.pairs) == 2
    for seconds in (0.5, 1.5):
        drawn = Mixtures(found, Recipe(seconds=seconds, paired=1.0)).draw(np.random.default_rng(0))
        assert len(drawn.noisy) == seconds * RATE
        np.testing.assert_allclose(drawn.noisy, 2 * drawn.clean, atol=1e-4)  # float16 in the bank


def test_pairs_without_a_partner_are_refused(paired, tmp_path):
    (tmp_path / "clean/a.wav").unlink()
    with pytest.raises(InputError, match=r"a\.wav"):
        bank(paired)
    with pytest.raises(UsageError, match="belong together"):
        EnhancerConfiguration.parse(settings({**paired, "clean": ""}, tmp_path))


def test_a_tiny_model_of_the_full_size_recipe_trains_on_pairs(paired, tmp_path):
    c = EnhancerConfiguration.parse({**settings(paired, tmp_path / "m", steps=2), "validation": 0})
    assert (train_enhancer(c, log=lambda text: None) / "model.safetensors").is_file()

"""What the prior was not made for is refused, and no head is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import ModelError
from ornstein.datasets.kspace import open_kspace
from ornstein.domains.mri.judge_training import train_judge, vary
from ornstein.domains.mri.reconstruction import survey
from ornstein.domains.mri.strangers import KINDS, SIZE, stranger, windowed
from ornstein.domains.mri.typicality import FILE, LIMIT, WIDTH, Judge, Verdict, assess, coarse, judge, save_judge
from ornstein.pipelines.models import find_model


def discs(count: int, seed: int = 0) -> list[np.ndarray]:
    """Slices of a kind that is easy to know: a disc with two dark holes."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:72j, -1:1:72j]
    made = []
    for _ in range(count):
        image = (np.hypot(y, x) < 0.8) * draw.uniform(0.8, 1)
        image = image * (np.hypot(y, x - 0.3) > 0.18) * (np.hypot(y, x + 0.3) > 0.18)
        made.append(image.astype(np.float32) + 0.02 * draw.random((72, 72), np.float32))
    return made


@pytest.fixture(scope="module")
def small() -> Judge:
    """A judge of discs, trained for seconds."""
    return train_judge([discs(20), discs(20, 1)], steps=60, batch=32, pool=60, log=lambda line: None)


# What the judge sees


@given(st.integers(8, 150), st.integers(8, 150), st.floats(0.001, 1000), st.integers(0, 2**20))
def test_the_coarse_picture_has_one_size_and_no_units(rows, columns, units, seed):
    image = np.random.default_rng(seed).random((rows, columns), np.float32)
    made = coarse(image)
    assert made.shape == (WIDTH, WIDTH) and np.isfinite(made).all() and made.min() >= 0 and made.max() <= 1.5
    np.testing.assert_allclose(coarse(image * np.float32(units)), made, atol=1e-4)  # float32 products and a percentile


def test_the_coarse_picture_ignores_how_much_air_is_around():
    image = discs(1)[0]
    padded = np.pad(image, ((30, 55), (11, 80)))
    # The object's frame falls on other fractions of a pixel: its edges differ, by less than their own contrast.
    assert np.abs(coarse(padded) - coarse(image)).mean() < 0.03


def test_nothing_and_noise_have_coarse_pictures_too():
    assert not coarse(np.zeros((20, 30))).any()
    assert np.isfinite(coarse(np.abs(np.random.default_rng(0).standard_normal((7, 200))))).all()


def test_varied_pictures_are_finite_and_repeat_with_the_seed():
    pictures, harm = torch.rand(8, 1, SIZE, SIZE), torch.ones(8)
    made = vary(pictures, harm, torch.Generator().manual_seed(3))
    assert made.shape == (8, 1, WIDTH, WIDTH) and made.isfinite().all() and made.min() >= 0 and made.max() <= 1.5
    assert torch.equal(made, vary(pictures, harm, torch.Generator().manual_seed(3)))
    assert not torch.equal(made, vary(pictures, harm, torch.Generator().manual_seed(4)))


def test_harm_degrades_and_no_harm_leaves_air_dark():
    disc = torch.from_numpy(np.stack([coarse(image, SIZE) for image in discs(32)]))[:, None]
    clean, harmed = (vary(disc, torch.full((32,), harm), torch.Generator().manual_seed(0)) for harm in (0.0, 1.0))
    # The same placements; a disc's air is exactly dark except for the grain of the disc's own picture.
    assert (harmed - clean).abs().mean() > 0.02
    assert clean.flatten(1).quantile(0.02, dim=1).median() < harmed.flatten(1).quantile(0.02, dim=1).median()


@pytest.mark.parametrize("kind", [draw for _, draw in KINDS], ids=lambda draw: draw.__name__)
def test_every_stranger_is_a_picture_with_something_on_it(kind):
    for seed in range(5):
        made = kind(np.random.default_rng(seed))
        assert made.shape == (SIZE, SIZE) and np.isfinite(made).all() and made.max() > 0


def test_strangers_follow_the_seed():
    first, again, other = (stranger(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_hounsfield_units_become_magnitudes():
    values = np.linspace(-1000, 2000, 400, dtype=np.float32).reshape(20, 20)
    ways = [windowed(values, np.random.default_rng(seed)) for seed in range(20)]
    assert min(way.min() for way in ways) >= 0 and len({float(way.sum()) for way in ways}) > 3


# What it says


def test_a_judge_knows_its_own_kind_from_others(small):
    own = assess(small, np.stack(discs(6, 7)))
    # Never drawn in training: stripes.
    stripes = np.stack([np.abs(np.sin(np.arange(72) / k))[:, None] * np.ones(72) for k in (1, 2, 3, 4)])
    other = assess(small, stripes.astype(np.float32))
    assert own.typical and own.log_odds > 1 and own.unlike == 0
    assert other.log_odds < own.log_odds - 2


def test_the_verdict_does_not_depend_on_how_a_slice_lies(small):
    image = discs(1, 9)[0] * np.linspace(0.3, 1, 72, dtype=np.float32)[:, None]
    odds = [assess(small, way[None]).log_odds for way in (image, image[::-1], image.T, image.T[::-1, ::-1])]
    # Mirroring a sum in float32 changes its last digits, and an odd frame its half pixel.
    np.testing.assert_allclose(odds, odds[0], atol=0.3)


def test_the_better_half_of_the_slices_counts(small):
    own, other = discs(1, 7)[0], np.abs(np.sin(np.arange(72) / 2))[:, None] * np.ones((72, 72), np.float32)
    alone = assess(small, own[None]), assess(small, other[None])
    mixed = assess(small, np.stack([other, own, other, own]))
    assert mixed.log_odds == pytest.approx(alone[0].log_odds, abs=1e-4) and mixed.unlike == 2  # float32
    few = assess(small, np.stack([other, own, other, other, other]))
    assert few.log_odds == pytest.approx((alone[0].log_odds + 2 * alone[1].log_odds) / 3, abs=1e-4)


def test_a_scan_below_the_limit_says_how_many_slices_are_unlike():
    assert Verdict(LIMIT, 6, 8).typical
    assert not Verdict(LIMIT - 0.01, 6, 8).typical and "6 of 8 slices" in str(Verdict(LIMIT - 0.01, 6, 8))


def test_a_saved_judge_says_the_same(small, tmp_path):
    card = {"typicality": save_judge(tmp_path, small)}
    images = np.stack(discs(3, 5))
    # The weights are kept in bfloat16: 3 digits.
    assert judge(tmp_path, card, images).log_odds == pytest.approx(assess(small, images).log_odds, abs=0.1)


def test_a_damaged_judge_is_a_damaged_model(small, tmp_path):
    card = {"typicality": save_judge(tmp_path, small)}
    data = bytearray((tmp_path / FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(ModelError, match=FILE):
        judge(tmp_path, card, np.zeros((1, 8, 8)))
    (tmp_path / FILE).unlink()
    with pytest.raises(ModelError, match=FILE):
        judge(tmp_path, card, np.zeros((1, 8, 8)))


def test_a_model_without_a_judge_refuses_nothing(tmp_path):
    assert judge(tmp_path, {}, np.zeros((1, 8, 8))) is None


# The shipped judge


@pytest.fixture(scope="module")
def shipped():
    return find_model(None, "mri")


def test_the_shipped_judge_knows_measured_heads(shipped, shared_data):
    files = sorted((shared_data / "medical" / "kspace").glob("*_8coil_*"))
    assert len(files) == 2
    for file in files:
        with open_kspace(file) as scan:
            verdict = judge(shipped.folder, shipped.card, survey(scan.read(slice(0, 1))).images)
        assert verdict is not None and verdict.typical, f"{file.name}: {verdict}"


def test_the_shipped_judge_is_small_and_the_card_says_what_it_is(shipped):
    assert (shipped.folder / FILE).stat().st_size < 60_000
    assert shipped.card["typicality"]["limit"] == LIMIT

"""Training crops are complex pictures of one size and scale, drawn by their weights, repeatable from their generator."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.domains.mri.crops import Crops, informative_slices, smooth_field, unit_scale


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def volume(shape: tuple[int, int, int] = (20, 24, 28), seed: int = 0) -> np.ndarray:
    """A bright ellipsoid in air, in scanner units."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum(a**2 for a in axes) < 0.6
    return (inside * np.random.default_rng(seed).uniform(300, 900, shape)).astype(np.float32)


@given(gain=st.floats(1e-3, 1e5))
def test_unit_scale_does_not_depend_on_the_scanner_units(gain: float):
    reference = unit_scale(volume())
    np.testing.assert_allclose(unit_scale(gain * volume()), reference, rtol=1e-4)  # float32 percentiles
    tissue = reference[reference > 0.05]
    assert np.percentile(tissue, 99) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_informative_slices_are_those_with_tissue(axis: int):
    scaled = unit_scale(volume())
    slices = informative_slices(scaled, axis)
    wanted = [s for s in np.moveaxis(scaled, axis, 0) if (s > 0.1).mean() > 0.03]
    assert 0 < len(slices) < scaled.shape[axis]  # the first and last slices are air
    assert all(np.array_equal(a, b.astype(np.float16)) for a, b in zip(slices, wanted, strict=True))


@pytest.mark.parametrize("shape", [(200, 220), (70, 90), (33, 200), (64, 64)])
def test_crops_have_one_size_and_the_scale_of_the_slices(shape: tuple[int, int]):
    picture = np.random.default_rng(0).uniform(0.2, 1.0, shape).astype(np.float16)
    crops = Crops([[picture]], [1.0], size=64, batch=18)
    for step, (count, size) in enumerate([(18, 64), (18, 64), (18, 64), (8, 96)]):  # every fourth: fewer, larger
        x0 = crops(step, generator(step))["x0"]
        assert x0.shape == (count, 2, size, size) and x0.dtype == torch.float32
        assert bool(x0.isfinite().all())
        magnitude = x0.square().sum(1).sqrt()
        assert bool((magnitude.amax((1, 2)) > 0.05).all())  # none is air alone
        assert float(magnitude.max()) < 6  # 1 times gamma, shading and gain, with the overshoot of bicubics


def test_same_generator_gives_the_same_crops_and_another_gives_others():
    picture = np.random.default_rng(0).uniform(0, 1, (80, 80)).astype(np.float16)
    crops = Crops([[picture]], [1.0], size=32, batch=4)
    first = crops(0, generator(1))["x0"]
    assert torch.equal(first, crops(0, generator(1))["x0"])
    assert not torch.equal(first, crops(0, generator(2))["x0"])


def test_groups_are_drawn_by_their_weights():
    dark, bright = np.full((64, 64), 0.0, np.float16), np.full((64, 64), 0.9, np.float16)
    crops = Crops([[dark], [bright, bright]], [3.0, 1.0], size=8, batch=800)
    lit = crops(0, generator())["x0"].square().sum((1, 2, 3)) > 0
    # The deviation of a share of one quarter in 800 is 0.015: four of them.
    assert float(lit.float().mean()) == pytest.approx(0.25, abs=0.06)


def test_half_of_the_crops_keep_the_grain_of_the_noise():
    """White noise of a picture stays white where the crop is exact, and is smoothed where it is turned and zoomed."""
    picture = (0.5 + 0.1 * np.random.default_rng(0).standard_normal((300, 300))).astype(np.float16)
    crops = Crops([[picture]], [1.0], size=32, batch=200)
    image = torch.stack(
        [
            crops._place(torch.from_numpy(picture.astype(np.float32)), 32, uniform_of(i), generator(i))
            for i in range(200)
        ]
    )
    exact = (
        torch.isin(image, torch.cat([torch.from_numpy(picture.astype(np.float32)).flatten(), torch.zeros(1)]))
        .all(2)
        .all(1)
    )
    assert crops.batch == 200
    # The deviation of a half in 200 is 0.035: four of them.
    assert float(exact.float().mean()) == pytest.approx(0.5, abs=0.14)


def uniform_of(seed: int):
    numbers = generator(seed)
    return lambda low, high: low + (high - low) * float(torch.rand((), generator=numbers))


def test_phase_covers_the_circle():
    picture = np.full((64, 64), 0.8, np.float16)
    x0 = Crops([[picture]], [1.0], size=16, batch=300)(0, generator())["x0"]
    mean = torch.complex(x0[:, 0], x0[:, 1]).mean((1, 2))
    direction = (mean / mean.abs().clamp_min(1e-12)).mean()
    assert float(direction.abs()) < 4 / 300**0.5  # of 300 random directions, at four deviations
    assert float(x0[:, 0].var() / x0[:, 1].var()) == pytest.approx(1.0, abs=0.3)


def test_smooth_field_is_smooth_centred_and_of_about_unit_deviation():
    fields = torch.stack([smooth_field(48, 4, generator(i)) for i in range(200)])
    assert fields.shape == (200, 48, 48)
    assert abs(float(fields.mean())) < 0.15 and 0.5 < float(fields.std()) < 1.1
    assert float(fields.diff(dim=-1).abs().max()) < 0.5
    assert float(fields.diff(dim=-1).std()) < 0.15 * float(fields.std())  # knots are 16 pixels apart


@given(seed=st.integers(0, 200))
def test_contrast_changes_are_continuous_and_keep_air_dark(seed: int):
    ramp = torch.linspace(0, 1.3, 400)
    changed = Crops._contrast(ramp, uniform_of(seed), generator(seed))
    assert float(changed[0]) == 0.0 and bool((changed >= 0).all())
    assert float(changed.diff().abs().max()) < 0.05  # a gamma of 0.7 starts steepest

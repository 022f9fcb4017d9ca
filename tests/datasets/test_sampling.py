"""Sampling patterns: counts, centres, distances."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import UsageError
from ornstein.datasets.sampling import _discs, automatic_center, golden_spokes, line_mask, poisson_mask


def generator(seed=0):
    return np.random.default_rng(seed)


@given(st.integers(32, 400), st.floats(1, 12), st.sampled_from(["random", "equispaced"]), st.integers(0, 1000))
def test_acceleration_counts_the_full_centre_exactly(lines, acceleration, pattern, seed):
    mask = line_mask(lines, acceleration, pattern, generator(seed))
    assert mask.sum() == round(lines / acceleration)
    center = max(1, round(lines * automatic_center(acceleration)))
    first = lines // 2 - center // 2
    assert mask[first : first + center].all() and mask[lines // 2]


@pytest.mark.parametrize(
    ("acceleration", "share"), [(1, 0.08), (4, 0.08), (6, 0.06), (8, 0.04), (12, 0.04), (25, 0.02)]
)
def test_automatic_centre_is_eight_percent_at_4x_and_four_at_8x(acceleration, share):
    assert automatic_center(acceleration) == pytest.approx(share)


@pytest.mark.parametrize("pattern", ["random", "equispaced"])
def test_a_chosen_centre_is_kept_and_one_that_is_too_large_is_wrong_usage(pattern):
    assert line_mask(200, 4, pattern, generator(), 0.2)[80:120].all()
    assert line_mask(200, 4, pattern, generator(), 0.25).sum() == 50
    for fraction in (0.3, 0, -1, 2, math.nan):
        with pytest.raises(UsageError):
            line_mask(200, 4, pattern, generator(), fraction)


@given(st.integers(64, 300), st.floats(2, 8), st.integers(0, 1000))
def test_equispaced_lines_differ_by_at_most_one_in_their_distance(lines, acceleration, seed):
    center = max(1, round(lines * automatic_center(acceleration)))
    mask = line_mask(lines, acceleration, "equispaced", generator(seed))
    first = lines // 2 - center // 2
    outside = np.delete(mask, slice(first, first + center))
    gaps = np.diff(np.flatnonzero(outside))
    assert gaps.max() - gaps.min() <= 1


def test_random_lines_are_uniform_outside_the_centre():
    counts = sum(line_mask(128, 4, "random", generator(seed)).astype(int) for seed in range(600))
    outside = np.delete(counts, slice(59, 69)) / 600
    share = 22 / 118  # 32 lines less 10 of the centre, of 128 - 10
    # 118 frequencies of 600 draws: their deviation is 0.016, and four of it is passed by one in 10,000 sets of 118.
    assert abs(outside - share).max() < 4.5 * math.sqrt(share * (1 - share) / 600)


@pytest.mark.parametrize("shape", [(256, 256), (96, 70), (63, 64)])
@pytest.mark.parametrize("acceleration", [2, 4, 8, 12])
def test_poisson_disc_samples_one_in_acceleration_and_the_whole_centre(shape, acceleration):
    mask = poisson_mask(shape, acceleration, generator())
    assert mask.sum() == round(math.prod(shape) / acceleration)
    n = min(24, int(min(shape) * math.sqrt(0.5 / acceleration)))
    block = tuple(slice(s // 2 - n // 2, s // 2 - n // 2 + n) for s in shape)
    assert mask[block].all()


def test_poisson_disc_is_denser_at_the_centre_and_even_in_angle():
    mask = poisson_mask((256, 256), 6, generator())
    x, y = np.meshgrid(*2 * [np.arange(256) - 128], indexing="ij")
    radius = np.hypot(x, y)
    density = [mask[(radius >= low) & (radius < low + 32)].mean() for low in (16, 48, 80, 112)]
    assert density == sorted(density, reverse=True) and density[0] > 3 * density[-1]
    quarters = [
        mask[rows, columns].mean()
        for rows in (slice(0, 128), slice(128, 256))
        for columns in (slice(0, 128), slice(128, 256))
    ]
    assert max(quarters) < 1.05 * min(quarters)  # about 2700 points each, spread more evenly than chance


@given(st.integers(4, 14), st.integers(4, 14), st.floats(0.5, 4), st.integers(0, 1000))
def test_discs_are_those_of_throwing_one_point_after_the_other(rows, columns, size, seed):
    draw = generator(seed)
    radius = size * draw.uniform(0.5, 1.5, (rows, columns))
    order = draw.permutation(rows * columns).reshape(rows, columns)
    kept: list[tuple[int, int]] = []
    for flat in np.argsort(order.ravel()):
        here = divmod(int(flat), columns)
        if all(math.dist(here, there) >= min(radius[here], radius[there]) for there in kept):
            kept.append(here)
    expected = np.zeros((rows, columns), bool)
    expected[tuple(np.transpose(kept))] = True
    assert np.array_equal(_discs(radius, order), expected)


def test_poisson_centre_that_is_too_large_is_wrong_usage():
    assert poisson_mask((40, 40), 1, generator()).all()
    with pytest.raises(UsageError, match="centre"):
        poisson_mask((40, 40), 4, generator(), 0.6)


@given(st.integers(8, 64), st.integers(8, 64), st.floats(1, 8), st.integers(0, 1000))
def test_spokes_pass_the_centre_and_stay_within_the_matrix(readout, phase, acceleration, seed):
    spokes = golden_spokes((readout, phase), acceleration, generator(seed))
    assert spokes.dtype == np.float32
    assert len(spokes) == max(1, round(max(readout, phase) / acceleration))
    assert not spokes[:, spokes.shape[1] // 2].any()
    assert (abs(spokes) <= np.array([readout, phase]) / 2 + 1e-4).all()


def test_spokes_turn_by_the_golden_angle():
    spokes = golden_spokes((32, 32), 1, generator())
    ends = spokes[:, 0].astype(float)
    angles = np.degrees(np.arctan2(ends[:, 1], ends[:, 0]))
    assert np.allclose((np.diff(angles) - 111.246) % 180, 0, atol=1e-2) or np.allclose(
        ((np.diff(angles) - 111.246 + 90) % 180) - 90, 0, atol=1e-2
    )

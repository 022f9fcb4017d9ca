"""Time grids descend from their start to their end, with the spacing of their name."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core import grids
from ornstein.core.paths import EDM, Cosine, RectifiedFlow, VarianceExploding, VariancePreserving

# Just below 1 the levels of a flow are so high that their times are one float64, and just above 0 so low: 1 and 0 themselves
# stand for the highest and the lowest level.
STARTS = st.one_of(st.just(1.0), st.floats(0.6, 1 - 1e-9))
ENDS = st.one_of(st.just(0.0), st.floats(1e-9, 0.4))
PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]
GRIDS = [grids.Uniform, grids.Quadratic, grids.Cosine, grids.LogSNR, grids.Karras]


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@given(steps=st.integers(1, 60), start=STARTS, end=ENDS)
def test_times_descend_strictly_within_the_unit_interval(kind, path, steps, start, end):
    times = kind(start=start, end=end)(path, steps)
    assert times.shape == (steps + 1,) and times.dtype == torch.float64
    assert bool((times.diff() < 0).all()) and float(times[0]) <= 1 and float(times[-1]) >= 0


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("path", [Cosine(), VarianceExploding(), EDM()], ids=lambda path: type(path).__name__)
def test_ends_are_exact_where_the_log_snr_is_finite(kind, path):
    times = kind()(path, 7)
    assert float(times[0]) == 1.0 and float(times[-1]) == 0.0


def test_grids_in_the_noise_level_cut_infinite_ends():
    times = grids.LogSNR(sigma_min=0.01, sigma_max=50)(RectifiedFlow(), 5)
    sigma = torch.exp(-RectifiedFlow().log_snr(times))
    assert float(sigma[0]) == pytest.approx(50) and float(sigma[-1]) == pytest.approx(0.01)
    assert float(grids.Karras()(VariancePreserving(), 5)[0]) == 1.0  # only the other end of this path is infinite


def test_spacing_is_that_of_the_name():
    path = VariancePreserving()

    def equal(values: torch.Tensor) -> None:
        torch.testing.assert_close(values.diff(), values.diff().mean().expand(9), rtol=1e-8, atol=1e-10)

    equal(grids.Uniform()(path, 9))
    equal(grids.Quadratic()(path, 9).sqrt())
    equal(path.log_snr(grids.LogSNR()(path, 9)))
    equal(torch.exp(-path.log_snr(grids.Karras(rho=5)(path, 9)) / 5))
    equal(torch.acos(grids.Cosine()(path, 9).sqrt()))


def test_uniform_times_of_the_edm_path_are_the_published_noise_levels():
    n, low, high, rho = 18, 0.002, 80.0, 7.0
    published = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    s = EDM().coefficients(grids.Uniform()(EDM(), n - 1)).s
    torch.testing.assert_close(s, torch.tensor(published, dtype=torch.float64), rtol=1e-12, atol=0)


def test_explicit_grid_is_its_times():
    grid = grids.Explicit((1.0, 0.5, 0.0))
    assert grid(EDM(), 2).tolist() == [1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="3 steps"):
        grid(EDM(), 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: grids.Uniform(start=0.2, end=0.5),
        lambda: grids.Uniform(start=1.5),
        lambda: grids.LogSNR(sigma_min=0.0),
        lambda: grids.LogSNR(sigma_max=math.inf),
        lambda: grids.Karras(rho=0.5),
        lambda: grids.Explicit((0.5, 0.5)),
        lambda: grids.Explicit((1.0,)),
        lambda: grids.Explicit((0.5, math.nan)),
        lambda: grids.Uniform()(EDM(), 0),
    ],
)
def test_impossible_grids_are_refused(make):
    with pytest.raises(ValueError):
        make()

"""Coarse averages, points and stations are linear in the field, exact where the field is, and have true adjoints."""

import numpy as np
import pytest
import torch

from ornstein.core.operators import Composition, Stack
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.operator import Coarsening, Scaling, at_points, great_circle, time_weights

REGION = Grid(50 + 0.25 * np.arange(16), -10 + 0.25 * np.arange(24))
BAND = Grid(-30 + np.arange(60.0), np.arange(72) * 5.0, True)
GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("grid", [REGION, BAND])
@pytest.mark.parametrize("kind", ["mean", "point"])
def test_coarsening_has_its_adjoint(grid, kind, assert_adjoint):
    operator = Coarsening.between(grid, grid.coarsen(4), kind)
    count = int(operator.kept.sum())
    assert_adjoint(operator, (2, 1, *grid.shape), (2, count), torch.float64, 1e-12)


def test_a_block_mean_is_weighed_by_area():
    operator = Coarsening.between(REGION, REGION.coarsen(4))
    x = torch.randn(1, 1, *REGION.shape, dtype=torch.float64, generator=GENERATOR)
    edges = np.deg2rad(50 - 0.125 + 0.25 * np.arange(17))
    area = torch.from_numpy(np.diff(np.sin(edges)))
    block = x[0, 0, :4, :4] * area[:4, None]
    assert float(operator.forward(x)[0, 0]) == pytest.approx(float(block.sum() / area[:4].sum() / 4), rel=1e-12)


def test_grids_that_do_not_nest_average_by_the_shared_area():
    coarse = Grid(np.array([50.4, 51.1]), np.array([-9.0, -8.3, -7.6]))
    operator = Coarsening.between(REGION, coarse)
    np.testing.assert_allclose(operator.rows.sum(1), 1)
    constant = torch.full((1, 1, *REGION.shape), 3.0, dtype=torch.float64)
    np.testing.assert_allclose(operator.forward(constant), 3.0)


def test_coarse_cells_that_stick_out_are_not_kept():
    coarse = Grid(np.array([49.5, 51.0]), np.array([-8.5, -5.5]))
    operator = Coarsening.between(REGION, coarse)
    assert operator.kept.tolist() == [[[False, False], [True, False]]]


def test_a_longitude_that_closes_is_averaged_across_its_seam():
    coarse = Grid(np.array([0.0]), np.array([0.0, 90, 180, 270]), True)
    fine = Grid(np.array([0.0]), np.arange(8) * 45.0 + 10, True)
    operator = Coarsening.between(fine, coarse)
    np.testing.assert_allclose(operator.columns.sum(1), 1)
    assert operator.columns[0, -1] > 0  # the cell west of Greenwich counts for the one around it


@pytest.mark.parametrize("method", ["bilinear", "great-circle"])
def test_stations_have_their_adjoint(method, assert_adjoint):
    random = np.random.default_rng(0)
    latitude, longitude = random.uniform(-29, 28, 30), random.uniform(-180, 360, 30)
    levels, pressure = [850.0, 500.0, 700.0], random.uniform(500, 850, 30)
    operator, inside = at_points(BAND, latitude, longitude, levels, pressure, method=method)
    assert inside.all()
    assert_adjoint(operator, (2, 3, *BAND.shape), (2, 30), torch.float64, 1e-12)
    np.testing.assert_allclose(operator.weight.sum(1), 1)


def test_bilinear_interpolation_is_exact_for_linear_fields_in_space_and_log_pressure():
    random = np.random.default_rng(0)
    latitude, longitude = random.uniform(50, 53, 20), random.uniform(-9.9, -4.5, 20)
    levels, pressure = np.array([850.0, 500.0]), random.uniform(500, 850, 20)
    field = 2 * REGION.latitudes[:, None] - REGION.longitudes + 5 * np.log(levels)[:, None, None]
    operator, inside = at_points(REGION, latitude, longitude, levels, pressure)
    assert inside.all()
    found = operator.forward(torch.from_numpy(field)[None])[0].numpy()
    np.testing.assert_allclose(found, 2 * latitude - longitude + 5 * np.log(pressure), rtol=1e-12)


def test_what_lies_outside_is_told():
    _, inside = at_points(
        REGION, np.array([51.0, 60, 51, 51, 51]), np.array([-9.0, -9, 0, -9, -9]), [850.0, 500.0],
        np.array([700.0, 700, 700, 300, np.nan]),
    )  # fmt: skip
    assert inside.tolist() == [True, False, False, False, False]


def test_stations_see_across_the_seam_of_a_globe():
    field = torch.from_numpy(np.broadcast_to(np.cos(np.deg2rad(BAND.longitudes)), BAND.shape).copy())[None, None]
    operator, _ = at_points(BAND, np.zeros(2), np.array([357.5, -2.5]))
    np.testing.assert_allclose(operator.forward(field)[0], np.cos(np.deg2rad(5)) / 2 + 0.5, rtol=1e-12)


def test_great_circles_are_the_known_ones():
    assert great_circle(np.array([0.0]), np.array([0.0]), np.array([0.0]), np.array([90.0]))[0] == pytest.approx(
        np.pi / 2 * 6371
    )
    # London to Paris, about 344 km
    assert great_circle(*(np.array([v]) for v in (51.5074, -0.1278, 48.8566, 2.3522)))[0] == pytest.approx(343.6, abs=1)


def test_times_between_steps_weigh_both():
    times = np.array(["2020-01-01T00", "2020-01-01T06", "2020-01-01T12"], "datetime64[s]")
    low, high, weight = time_weights(times, np.array(["2020-01-01T07:30", "2020-01-01T12:00"], "datetime64[s]"))
    assert low.tolist() == [1, 1] and high.tolist() == [2, 2] and weight.tolist() == [0.25, 1.0]


def test_a_stack_of_both_in_other_units_has_its_adjoint(assert_adjoint):
    coarse = Coarsening.between(REGION, REGION.coarsen(8))
    stations, _ = at_points(REGION, np.array([51.0, 52.3]), np.array([-8.0, -6.6]))
    scale = Scaling(torch.rand(1, *REGION.shape, dtype=torch.float64, generator=GENERATOR) + 0.5)
    count = int(coarse.kept.sum())
    both = Composition(Stack((coarse, stations), ((count,), (2,))), scale)
    assert_adjoint(both, (2, 1, *REGION.shape), (2, count + 2), torch.float64, 1e-12)

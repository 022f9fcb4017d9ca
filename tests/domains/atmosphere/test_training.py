"""A prior is learned from files, resumes, is calibrated on what was held out, and is at least its Gaussian."""

import numpy as np
import pytest
import torch
import xarray as xr

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.errors import InputError, UsageError
from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.archive import FieldSource, load_series
from ornstein.domains.atmosphere.background import Background, scaled
from ornstein.domains.atmosphere.covariances import Spectrum, Stationary
from ornstein.domains.atmosphere.operator import Coarsening
from ornstein.domains.atmosphere.prior import Prior, build, load_prior
from ornstein.domains.atmosphere.sampling import Settings, ensemble
from ornstein.domains.atmosphere.training import AtmosphereConfiguration, Patches, learn_prior, train_prior

GRID = Grid(50 + 0.25 * np.arange(16), -10 + 0.25 * np.arange(24))
SPECTRUM = Spectrum((0.0, 1.5, 4.5), (0.0, -2.0, -12.0))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Sixty hours of two variables, of a known covariance."""
    folder = tmp_path_factory.mktemp("archive")
    covariance = Stationary(torch.from_numpy(SPECTRUM.variances(GRID))[None])
    noise = torch.randn(120, 1, *GRID.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = covariance.root(noise)[:, 0].numpy().astype("float32")
    dims = ("time", "latitude", "longitude")
    xr.Dataset(
        {"t2m": (dims, 7 + 3 * z[:60], {"units": "degC"}), "u10": (dims, 5 * z[60:], {"units": "m s**-1"})},
        {
            "time": np.datetime64("2019-03-01", "ns") + np.arange(60) * np.timedelta64(1, "h"),
            "latitude": GRID.latitudes[::-1], "longitude": GRID.longitudes,
        },
    ).to_netcdf(folder / "fields.nc")  # fmt: skip
    return str(folder / "fields.nc")


def configuration(archive, output, **more):
    values = {
        "output": str(output), "name": "tiny", "patch": 16, "batch": 2, "channels": [4, 4], "samples": 40, "calibration": 2,
        "data": [
            {"path": archive, "variables": ["t2m"], "hold_out": 6, "region": "here"},
            {"path": archive, "variables": ["u10"], "hold_out": 6},
        ],
        "training": {"steps": 4, "save_every": 2, "log_every": 2, "precision": "fp32"},
    }  # fmt: skip
    return AtmosphereConfiguration.parse(values | more)


def test_series_are_in_si_units_and_our_order(archive):
    t2m, u10 = load_series(FieldSource(archive))
    assert t2m.variable == "t2m" and t2m.values.mean() == pytest.approx(280.15, abs=1) and t2m.hours[5] == 5
    with xr.open_dataset(archive) as data:
        np.testing.assert_allclose(u10.values, data["u10"].values[:, ::-1], rtol=1e-6)
    with pytest.raises(InputError, match="no such file"):
        load_series(FieldSource("nowhere/*.nc"))
    with pytest.raises(InputError, match="hold_out 10000"):
        load_series(FieldSource(archive, hold_out=10000))


def test_patches_are_of_unit_size_and_the_same_for_a_step(archive, tmp_path):
    c = configuration(archive, tmp_path)
    series = [one for source in c.data for one in load_series(source)]
    patches = Patches(series, learn_prior(c, series, lambda _: None), 16, 4)
    assert len(patches.groups) == 5  # four folds of the region, and the other variable
    sizes = []
    for step in range(12):
        made, again = (patches(step, torch.Generator().manual_seed(step)) for _ in range(2))
        torch.testing.assert_close(made["x0"], again["x0"])
        sizes.append(float(made["x0"].square().mean()))
        assert patches.gaussian(int(made["group"])).mean.shape == made["x0"].shape[1:]
        assert made["features"].shape == (4, 1, 10, *made["x0"].shape[2:])
    assert np.mean(sizes) == pytest.approx(1, abs=0.3)  # 48 patches, of which the longest waves are a large part


def test_a_fold_meets_the_climatology_of_the_others(archive, tmp_path):
    c = configuration(archive, tmp_path)
    series = [one for source in c.data for one in load_series(source)]
    folds = [g for g in Patches(series, learn_prior(c, series, lambda _: None), 16, 4).groups if g.dense]
    assert sorted(np.concatenate([g.times for g in folds]).tolist()) == list(range(54))
    assert not np.allclose(folds[0].region.harmonics, folds[1].region.harmonics)


def test_training_resumes_to_the_same_weights_and_writes_a_calibrated_model(archive, tmp_path):
    train_prior(configuration(archive, tmp_path / "a"), log=lambda _: None)
    train_prior(configuration(archive, tmp_path / "b", calibration=0), log=lambda _: None, stop_after=2)
    train_prior(configuration(archive, tmp_path / "b", calibration=0), log=lambda _: None)
    a, b = load_prior(tmp_path / "a"), load_prior(tmp_path / "b")
    for (name, one), (_, other) in zip(a.network.state_dict().items(), b.network.state_dict().items()):
        torch.testing.assert_close(one, other, msg=name)
    assert set(a.calibration) == {"here", "t2m", "u10"} and a.calibration["here"].memory > 0
    scores = a.card["held_out_scores"]["here"]
    assert scores["crps"] <= scores["crps_gaussian"] and 0.4 < scores["spread_skill"] < 2.5  # two times, 12 members


def test_a_model_without_a_network_is_its_gaussian(archive, tmp_path):
    train_prior(configuration(archive, tmp_path, network=False), log=lambda _: None)
    prior = load_prior(tmp_path)
    assert prior.network is None and prior.calibration["here"].strength == 0


def test_an_untrained_network_samples_what_optimal_interpolation_draws():
    """Equality in distribution, here of the deviation and the mean over 64 members, within their Monte-Carlo error."""
    covariance = Stationary(torch.from_numpy(SPECTRUM.variances(GRID))[None])
    gaussian = GaussianDenoiser(torch.zeros(1, *GRID.shape), covariance)
    ones = torch.ones(1, *GRID.shape, dtype=torch.float64)
    background = Background(0 * ones, 2 * ones, gaussian, "")
    operator = Coarsening.between(GRID, GRID.coarsen(8))
    values = operator.forward(background.deviation * covariance.root(torch.randn(1, 1, *GRID.shape).double()))[0]
    noise = torch.full_like(values, 0.01)
    torch.manual_seed(0)
    network = build({"channels": [4, 4], "blocks": 1, "embedding": 8}, 1)
    features = torch.zeros(1, 1, 9, *GRID.shape)
    drawn = ensemble(background, operator, values, noise, Settings(64))
    sampled = ensemble(background, operator, values, noise, Settings(64, steps=12, seed=1), network, features)
    assert float((sampled.std(0) / drawn.std(0)).mean()) == pytest.approx(1, abs=0.03)
    gap = (sampled.mean(0) - drawn.mean(0)).square().mean().sqrt()
    assert float(gap) < 1.15 * (2 / 64) ** 0.5 * float(drawn.var(0).mean().sqrt())
    torch.testing.assert_close(operator.forward(sampled), values.expand(64, -1), atol=0.05, rtol=0)


def test_inflation_multiplies_the_covariance():
    gaussian = GaussianDenoiser(
        torch.zeros(1, *GRID.shape), Stationary(torch.from_numpy(SPECTRUM.variances(GRID))[None])
    )
    torch.testing.assert_close(scaled(gaussian, 2.0).covariance.trace(), 2 * gaussian.covariance.trace())
    assert float(gaussian.covariance.trace()) == pytest.approx(384)


@pytest.mark.parametrize(
    ("field", "value"), [("patch", 20), ("channels", []), ("data", []), ("dropout", 1.0), ("colour", 1)]
)
def test_a_wrong_setting_is_named(archive, tmp_path, field, value):
    with pytest.raises(UsageError, match=field):
        configuration(archive, tmp_path, **{field: value})


def test_the_shipped_recipe_is_a_configuration(repository):
    import yaml

    values = yaml.safe_load((repository / "workflows/atmosphere/training/atmosphere.yaml").read_text())
    assert values.pop("domain") == "atmosphere"
    c = AtmosphereConfiguration.parse(values)
    weights = sum(p.numel() for p in build(c.architecture, 10).parameters())
    assert 2 * weights < 2.2 * 2**20  # bfloat16; with the region and the terrain within 3 MiB


@pytest.mark.parametrize("poles", [True, False])
def test_terrain_is_known_up_to_the_poles_whether_or_not_its_file_has_rows_there(poles):
    latitudes = np.linspace(-90, 90, 37) if poles else np.linspace(-87.5, 87.5, 36)
    known = Grid(latitudes, np.arange(0, 360, 5.0), periodic=True)
    values = np.repeat(known.latitudes[:, None] + 100, len(known.longitudes), 1)
    grid = Grid(np.array([-90.0, -89, 0, 89, 90]), np.array([-170.0, 2, 179]))
    heights = Prior({}, (), None, (known, values)).heights(grid)
    expected = np.clip(grid.latitudes, latitudes[0], latitudes[-1]) + 100
    np.testing.assert_allclose(heights, np.repeat(expected[:, None], 3, 1))

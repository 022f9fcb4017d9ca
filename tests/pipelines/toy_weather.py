"""Made-up temperatures of a known spectrum, and a model of them with an untrained network."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from ornstein.datasets.fields import Grid
from ornstein.domains.atmosphere.background import Region
from ornstein.domains.atmosphere.covariances import Spectrum, Stationary
from ornstein.domains.atmosphere.prior import Calibration, Prior, build, save_prior
from ornstein.pipelines import atmosphere

TINY = {"channels": [4, 4], "blocks": 1, "embedding": 8, "attention": [], "dropout": 0.0}
SPECTRUM = Spectrum((0.0, 1.5, 4.5), (0.0, -2.0, -12.0))
HERE = Grid(50 + 0.25 * np.arange(16), -10 + 0.25 * np.arange(24))


def field(grid: Grid, times: int, seed: int = 0, scale: float = 4.0) -> np.ndarray:
    covariance = Stationary(torch.from_numpy(SPECTRUM.variances(grid))[None], grid.periodic)
    z = torch.randn(times, 1, *grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return scale * covariance.root(z)[:, 0].numpy()


def fine_dataset(grid: Grid = HERE, times: int = 3, seed: int = 0, name: str = "t2m") -> xr.Dataset:
    values = 280 + field(grid, times, seed)
    return xr.Dataset(
        {
            name: (
                ("time", "latitude", "longitude"),
                values.astype("float32"),
                {"units": "K", "long_name": "temperature"},
            )
        },
        {
            "time": np.datetime64("2019-03-01", "ns") + np.arange(times) * np.timedelta64(1, "h"),
            "latitude": ("latitude", grid.latitudes, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", grid.longitudes, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        {"history": "made", "title": "test"},
    )


def save_model(folder: Path) -> None:
    """A prior of t2m and q with an untrained network, and a region north of the fields with a past of its own."""
    away = Grid(60 + 0.25 * np.arange(16), -10 + 0.25 * np.arange(24))
    harmonics = np.zeros((5, *away.shape))
    harmonics[0] = 270.0
    region = Region("north", "t2m", away, harmonics, 4.0, field(away, 60).astype("float32") / 4)
    torch.manual_seed(0)
    prior = Prior({"t2m": SPECTRUM, "q": SPECTRUM}, (region,), build(TINY, 2), None, {"t2m": Calibration(memory=3.0)})
    save_prior(folder, prior, TINY, {"name": "tiny"})


def run(data, model, **options):
    return atmosphere.superresolve(data, model=model, **{"factor": 4, "members": 3, "steps": 3, **options}).dataset

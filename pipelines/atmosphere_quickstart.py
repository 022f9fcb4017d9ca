"""The quickstart of the atmosphere: winters' heights of 500 hPa that an installed library carries, made coarse and fine again."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ornstein.pipelines import atmosphere
from ornstein.pipelines.atmosphere_pictures import maps
from ornstein.pipelines.console import Console
from ornstein.pipelines.quickstart import Demonstration
from ornstein.pipelines.report import Report

if TYPE_CHECKING:
    import xarray as xr

WINTERS, FACTOR, STATIONS, ERROR, MEMBERS = 4, 4, 20, 5.0, 16

RUNS: tuple[tuple[str, Literal["diffusion", "optimal", "bicubic"], bool], ...] = (
    ("bicubic", "bicubic", False),
    ("optimal", "optimal", False),
    ("diffusion", "diffusion", False),
    ("diffusion, stations", "diffusion", True),
)


def demonstrate(folder: Path, report: Report, device: str, seed: int, console: Console) -> Demonstration:
    """Averages the last winters over blocks of cells, observes some stations, and makes the fields fine again."""
    import numpy as np
    import xarray as xr

    from ornstein.datasets.fields import Layout

    winters().to_netcdf(folder / "fine.nc")
    seen = folder / "stations.csv"
    atmosphere.simulate(
        folder / "fine.nc", factor=FACTOR, stations=STATIONS, observations=str(seen), error=ERROR, seed=seed
    ).save(folder / "coarse.nc", overwrite=True)
    head = ("method", "RMSE (m)", "CRPS (m)", "spread / error", "seconds")
    rows: list[tuple[Any, ...]] = []
    made = None
    for name, method, stations in RUNS:
        progress = console.progress(f"atmosphere {name}")
        made = atmosphere.superresolve(
            folder / "coarse.nc", factor=FACTOR, method=method, members=MEMBERS, seed=seed, progress=progress,
            observations=str(seen) if stations else None, device=device if method != "bicubic" else "auto",
        )  # fmt: skip
        made.save(folder / f"{name.replace(', ', '-with-')}.nc", overwrite=True)
        progress.close()
        found = atmosphere.evaluate(folder / f"{name.replace(', ', '-with-')}.nc", folder / "fine.nc").record
        rows.append((name, found["rmse"], found["crps"], found.get("spread_skill"), made.record["seconds"]))
        console.say(f"atmosphere {name}: RMSE {found['rmse']:.1f} m")
    assert made is not None
    gain = 1 - rows[2][2] / rows[0][2]
    said = (
        f"the CRPS of diffusion is {abs(gain):.0%} {'below' if gain >= 0 else 'above'} bicubic's error, and with "
        f"{STATIONS} stations {1 - rows[3][2] / rows[0][2]:.0%} below"
    )
    report.text(
        f"Heights of the 500 hPa surface over the North Atlantic, means of {WINTERS} winters on 2.5 degrees (NCEP/NCAR "
        f"reanalysis, which the library eofs carries): averaged over {FACTOR} x {FACTOR} cells, then made fine again by "
        f"{MEMBERS} members, without and with {STATIONS} stations whose error is {ERROR:g} m. The model was trained on other "
        "places and seasons and on finer grids."
    )
    report.text(f"Outcome: {said}.").table(rows, head)
    with (
        xr.open_dataset(folder / "coarse.nc") as coarse,
        xr.open_dataset(folder / "diffusion-with-stations.nc") as fine,
    ):
        small, large = Layout.of(coarse, "coarse"), Layout.of(fine, "fine")
        members = np.stack([large.take(fine["z"].isel(number=i))[0, 0] for i in range(MEMBERS)])
        report.picture(
            maps(small.take(coarse["z"])[0, 0], members, small.grid, large.grid, "m"),
            "The first winter, with stations.",
        )
    report.provenance(made.record)
    return Demonstration(head, rows, made.model, said)


def winters() -> "xr.Dataset":
    """The last winters' heights at 500 hPa, in m.

    Source: NCEP/NCAR reanalysis, Kalnay et al. (1996), public domain; from the package `eofs` (Dawson 2016).
    """
    from importlib.resources import files

    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)  # of the year 1 that its times count from
        with xr.open_dataset(str(files("eofs") / "examples/example_data/hgt_djf.nc")) as data:
            fields = data[["z"]].isel(time=slice(-WINTERS, None), pressure=0, drop=True).load()
    fields["time"].encoding.clear()
    # The outermost row and column are left out: blocks of four fit what remains.
    fields = fields.isel(latitude=slice(0, 28), longitude=slice(0, 48))
    fields.z.attrs["units"] = "m"
    return fields

"""The atmosphere: fine fields from coarse ones and observations, with an ensemble; coarse ones to try it; and measures."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ornstein.core.errors import InputError, RefusedError, UsageError
from ornstein.pipelines import models, runtime
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.atmosphere_results import CoarseFields, FineFields
from ornstein.pipelines.evaluate import answer
from ornstein.pipelines.options import Device, Force, InputFile, MaxMemory, Model, Precision, Progress, Seed, Steps
from ornstein.pipelines.signature import Option
from ornstein.pipelines.verbs import verb

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr

    from ornstein.datasets.fields import Grid, Layout
    from ornstein.domains.atmosphere.prior import Prior

READ = (".nc", ".nc4", ".cdf", ".grib", ".grb", ".grib2", ".grb2", ".zarr")
WRITTEN = (".nc", ".zarr")

Factor = Annotated[int, Option(low=2, high=64)]
Coarse = Annotated[Literal["mean", "point"], Option()]


@verb(inputs=READ, outputs=WRITTEN)
def simulate(
    fields: "str | Path | xr.Dataset",
    *,
    factor: Factor,
    coarse: Coarse = "mean",
    stations: Annotated[int, Option(low=0, high=1_000_000)] = 0,
    observations: Annotated[str | None, Option(metavar="FILE")] = None,
    error: Annotated[float, Option(low=0)] = 0.5,
    seed: Seed = 0,
    progress: Progress = None,
) -> CoarseFields:
    """Makes coarse fields, and observations at random places, of fine fields.

    Args:
        fields: a netCDF or GRIB file, a zarr folder or an xarray dataset
        factor: fine cells a coarse one along each axis; incomplete blocks in the north and east are cut
        coarse: mean over the block by area, or the value at its centre
        stations: places that are observed, the same at all times
        observations: write their values to this CSV or netCDF file
        error: standard deviation of the noise that the observations get, in the units of the fields

    Raises:
        InputError: for a file that cannot be read or has no regular grid.
        UsageError: for stations without a file to write.
    """
    from ornstein.datasets.field_files import open_fields

    if (stations > 0) != (observations is not None):
        raise UsageError("--stations and --observations belong together", "give both, or none")
    options = {"factor": factor, "coarse": coarse, "stations": stations, "error": error, "seed": seed}
    return CoarseFields(open_fields(fields), _name(fields), options, observations, progress)


@verb(inputs=READ, outputs=WRITTEN)
def superresolve(
    fields: "str | Path | xr.Dataset",
    *,
    factor: Annotated[int | None, Option(low=2, high=64)] = None,
    grid: InputFile = None,
    observations: InputFile = None,
    members: Annotated[int, Option(low=1, high=1000)] = 16,
    coarse: Coarse = "mean",
    coarse_error: Annotated[float | None, Option(above=0, metavar="SD", none="none")] = None,
    climatology: InputFile = None,
    static: InputFile = None,
    keep: Annotated[Literal["all", "mean,std"], Option()] = "all",
    members_as: Annotated[Literal["dimension", "files"], Option()] = "dimension",
    method: Literal["diffusion", "optimal", "bicubic", "bilinear"] = "diffusion",
    steps: Steps = 8,
    solver: Literal["auto"] = "auto",
    model: Model = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    max_memory: MaxMemory = None,
    force: Force = False,
    seed: Seed = 0,
    progress: Progress = None,
) -> FineFields:
    """Makes an ensemble of fine fields from coarse ones, and from observations where there are any.

    Args:
        fields: a netCDF or GRIB file, a zarr folder or an xarray dataset
        factor: fine cells a coarse one along each axis
        grid: a cdo grid description or a file that has the grid wanted, instead of --factor
        observations: IGRA v2 soundings, CSV or netCDF with errors
        members: of the ensemble; 1 gives the analysis alone, by one evaluation and without noise
        coarse: what the input's values are, means over their cells by area or values at their centres
        coarse_error: standard deviation of the input's values in its units; none takes them as exact
        climatology: expected fine fields, over hour or month where the file has them, in the input's units and names
        static: orography, as geopotential or height, on any grid
        keep: all members, or mean,std: their mean and deviation alone
        members_as: the dimension number, or files of their own beside the mean
        method: diffusion is the model; optimal interpolation is the same without its network; two interpolations
        solver: auto takes the core's own

    Raises:
        InputError: for a file that cannot be read or has no regular grid.
        RefusedError: for a variable that the model does not know.
        ModelError: for an unknown or damaged model.
    """
    from ornstein.datasets.field_files import open_fields
    from ornstein.datasets.fields import Layout
    from ornstein.datasets.soundings import open_observations
    from ornstein.domains.atmosphere.superresolution import Options, Superresolver

    if (factor is None) == (grid is None):
        raise UsageError("give --factor or --grid, one of them", "--factor 4 cuts every cell into 4 x 4")
    place = runtime.choose_device(device)
    runtime.check_precision(precision, place)
    budget = runtime.memory_budget(max_memory, place)
    data, name = open_fields(fields), _name(fields)
    layout = Layout.of(data, name)
    fine, coordinates = _fine(layout, factor, grid)
    prior, chosen, notes = _prior(model, method, data, name, force, place)
    options = Options(
        1 if method in ("bicubic", "bilinear") else members, method, coarse, coarse_error, steps, seed, place,
        precision, budget if max_memory is not None else min(budget, 4_000_000_000),
    )  # fmt: skip
    seen = None if observations is None else open_observations(observations)
    made = Superresolver(
        prior, data, fine.grid, options, seen,
        None if climatology is None else open_fields(climatology),
        None if static is None else _heights(static, fine.grid), name,
    )  # fmt: skip
    result = FineFields(made, fine, coordinates, keep, members_as, progress)
    result.warnings += notes
    result.model = None if chosen is None else chosen.identity
    return result


def evaluate(
    result: "str | Path | xr.Dataset",
    reference: "str | Path | xr.Dataset",
    *,
    mask: InputFile = None,
    input: InputFile = None,
    observations: InputFile = None,
) -> Answer:
    """Compares fine fields with their truth: latitude-weighted RMSE, fair CRPS, spread-skill, ranks, spectra, coherence.

    Args:
        result: fine fields, with or without members
        reference: the truth on the same grid and times
        mask: a file whose first variable is above 0 where cells are scored
        input: the coarse fields: how well the result keeps them, and what bicubic interpolation would score
        observations: that were withheld: the error there
    """
    from ornstein.pipelines.atmosphere_scores import compare

    measures, notes = compare(result, reference, mask, input, observations)
    return answer(_name(result), _name(reference), measures, {"warnings": notes})


def train_model(settings: dict[str, Any], device: "torch.device", log: Callable[[str], None]) -> Path:
    """Trains an atmosphere model from the settings of a configuration file; the folder of the model."""
    from ornstein.domains.atmosphere.training import AtmosphereConfiguration, train_prior

    return train_prior(AtmosphereConfiguration.parse(settings), device=device, log=log)


VERBS = (simulate, superresolve)


def _prior(
    model: str | None, method: str, data: "xr.Dataset", name: str, force: bool, device: "torch.device"
) -> "tuple[Prior, models.Model | None, list[str]]":
    """The model's prior, or an empty one where none is needed or forced; refuses variables that it does not know."""
    from ornstein.datasets.fields import field_names, find_axes
    from ornstein.datasets.quantities import quantity
    from ornstein.domains.atmosphere.prior import Prior, load_prior, refused_variables

    if method in ("bicubic", "bilinear"):
        if model is not None:
            raise UsageError(f"--model and --method {method} contradict each other", "interpolation uses no model")
        return Prior({}), None, []
    if model is None and force and not models.shipped("atmosphere"):
        prior, chosen = Prior({}), None
    else:
        chosen = models.find_model(model, "atmosphere")
        prior = load_prior(chosen.folder, device)
    names = field_names(data, find_axes(data, name))
    kinds = {n: quantity(n, str(data[n].attrs.get("standard_name", ""))) for n in names}
    unknown = [n for n in names if refused_variables(prior, [getattr(kinds[n], "name", None)])]
    if not unknown:
        return prior, chosen, []
    if not force:
        raise RefusedError(
            f"{name}: the model does not know {', '.join(unknown)}; it knows {', '.join(prior.variables) or 'nothing'}",
            "leave these variables out, train a model (docs/atmosphere.md), or go on with --force",
        )
    return prior, chosen, [
        f"{', '.join(unknown)}: not known to the model; a stationary Gaussian fitted to the coarse input stands in for it"
    ]  # fmt: skip


def _fine(layout: "Layout", factor: int | None, grid: str | None) -> "tuple[Layout, xr.Dataset | None]":
    """The layout to write, and the coordinates of a grid that was given."""
    if factor is not None:
        return layout.refined(factor), None
    from dataclasses import replace

    from ornstein.datasets.field_files import read_grid
    from ornstein.datasets.fields import Layout

    assert grid is not None
    _, given = read_grid(grid)
    wanted = Layout.of(given, grid)
    _check_cover(layout.grid, wanted.grid, grid)
    axes = replace(layout.axes, latitude=layout.axes.latitude, longitude=layout.axes.longitude)
    renamed = given.rename(
        {
            old: new
            for old, new in (
                (wanted.axes.latitude, axes.latitude),
                (wanted.axes.longitude, axes.longitude),
            )
            if old != new
        }
    )
    return Layout(axes, wanted.grid, wanted.rows, wanted.columns), renamed


def _check_cover(coarse: "Grid", fine: "Grid", name: str) -> None:
    import numpy as np

    if not coarse.periodic:
        west = coarse.longitude_edges[0]
        turned = west + np.mod(fine.longitudes - west, 360)
        outside = (turned > coarse.longitude_edges[-1]).any()
    else:
        outside = False
    low, high = coarse.latitude_edges[[0, -1]]
    if outside or fine.latitudes[0] < low or fine.latitudes[-1] > high:
        raise InputError(f"{name}: the grid reaches beyond the fields", "give a grid within them")


def _heights(static: Any, fine: "Grid") -> "np.ndarray":
    """The orography of a file at the fine cells, in m."""
    from ornstein.datasets.field_files import open_fields
    from ornstein.datasets.fields import field_names, find_axes
    from ornstein.datasets.quantities import GRAVITY
    from ornstein.domains.atmosphere.climatology import from_file

    data = open_fields(static)
    wanted = ("z", "orog", "orography", "elevation", "topo", "hgt", "geopotential_at_surface", "height")
    names = [n for n in field_names(data, find_axes(data, str(static))) if n.lower() in wanted]
    if not names:
        raise InputError(f"{static}: holds no orography", f"wanted one of {', '.join(wanted)}")
    heights = from_file(data, names[0], fine, None, None)[0]
    units = str(data[names[0]].attrs.get("units", "")).replace("**", "")
    return heights / GRAVITY if units.startswith("m2") else heights


def _name(source: Any) -> str:
    import os

    return os.fspath(source) if isinstance(source, str | os.PathLike) else "the dataset"

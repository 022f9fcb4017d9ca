"""The measures of fine fields against their truth, from files to numbers."""

from typing import TYPE_CHECKING, Any

from ornstein.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from ornstein.datasets.fields import Axes, Layout


def compare(result: Any, reference: Any, mask: Any, coarse: Any, observations: Any) -> tuple[dict[str, Any], list[str]]:
    """Measures by name (with the variable before it where there are several), and what a reader should know.

    Raises:
        InputError: where result and reference have no variable, or not the grid, in common.
    """
    import numpy as np

    from ornstein.datasets.field_files import open_fields
    from ornstein.datasets.fields import Layout, field_names
    from ornstein.domains.atmosphere import measures

    made, truth = open_fields(result), open_fields(reference)
    layouts = Layout.of(made, "the result"), Layout.of(truth, "the reference")
    names = shared_names(made, truth, layouts[0].axes, _name(result))
    notes: list[str] = []
    place = window(layouts[0], layouts[1], notes)
    scored = None
    if mask is not None:
        masks = open_fields(mask)
        layout = Layout.of(masks, "the mask")
        scored = layout.take(masks[field_names(masks, layout.axes)[0]])[0, 0] > 0
        if scored.shape != layouts[0].grid.shape:
            raise InputError(
                f"{_name(mask)}: {scored.shape} cells, the result {layouts[0].grid.shape}", "give one on its grid"
            )
    found: dict[str, Any] = {}
    for name in names:
        members = _members(made, name, layouts[0])
        fields = layouts[1].take(same_times(truth[name], made[name], layouts))[(..., *place)]
        if fields.shape[0] != members.shape[1] or fields.shape[1] != members.shape[2]:
            raise InputError(
                f"{_name(result)}: {name} has {members.shape[1]} times and {members.shape[2]} levels, the reference "
                f"{fields.shape[0]} and {fields.shape[1]}", "compare the same times and levels",
            )  # fmt: skip
        flat = members.reshape(len(members), -1, *members.shape[-2:]).astype(np.float64)
        true = fields.reshape(-1, *fields.shape[-2:]).astype(np.float64)
        one = measures.measure(flat, true, layouts[0].grid, scored)
        if coarse is not None:
            one |= _against_coarse(open_fields(coarse), name, flat, true, layouts[0], scored)
        if observations is not None:
            one |= _at_observations(observations, made, name, members, layouts[0])
        found |= one if len(names) == 1 else {f"{name}_{key}": value for key, value in one.items()}
    return found, notes


def _members(data: "xr.Dataset", name: str, layout: "Layout") -> "np.ndarray":
    """(members, times, channels, rows, columns)."""
    import numpy as np

    field, number = data[name], layout.axes.number
    if number is None or number not in field.dims:
        return layout.take(field)[None]
    return np.stack([layout.take(field.isel({number: i})) for i in range(field.sizes[number])])


def shared_names(result: "xr.Dataset", reference: "xr.Dataset", axes: "Axes", name: str) -> list[str]:
    """The fields of a result that its reference has, too. Raises: InputError where there are none."""
    from ornstein.datasets.fields import field_names

    names = [n for n in field_names(result, axes) if n in reference.data_vars]
    if not names:
        raise InputError(
            f"{name}: no variable is in the reference, which has {', '.join(map(str, reference.data_vars))}",
            "compare fields of the same names",
        )
    return names


def window(result: "Layout", reference: "Layout", notes: list[str]) -> tuple[slice, slice]:
    """Where the result's grid lies in the reference's."""
    import numpy as np

    from ornstein.domains.atmosphere.background import Region

    place = Region("", "", reference.grid, np.empty(0), 1.0, np.empty(0)).window(result.grid)
    if place is None:
        raise InputError("the result's cells are not cells of the reference", "compare fields on one grid")
    if result.grid.shape != reference.grid.shape:
        notes.append("the reference is larger: its part that the result covers was compared")
    return place


def same_times(truth: "xr.DataArray", made: "xr.DataArray", layouts: "tuple[Layout, Layout]") -> "xr.DataArray":
    """The reference at the result's times, where both have them."""
    a, b = layouts[0].axes.time, layouts[1].axes.time
    if a is None or b is None or a not in made.dims or b not in truth.dims or truth.sizes[b] == made.sizes[a]:
        return truth
    try:
        return truth.sel({b: made[a].values})
    except (KeyError, TypeError):
        raise InputError("the reference lacks times of the result", "compare fields of the same times") from None


def _against_coarse(
    coarse: "xr.Dataset",
    name: str,
    members: "np.ndarray",
    truth: "np.ndarray",
    layout: "Layout",
    scored: "np.ndarray | None",
) -> dict[str, float]:
    """How far the members' averages are from the coarse field, and what bicubic interpolation of it scores."""
    import numpy as np
    import torch

    from ornstein.datasets.fields import Layout
    from ornstein.domains.atmosphere import measures
    from ornstein.domains.atmosphere.baselines import interpolate
    from ornstein.domains.atmosphere.operator import Coarsening

    theirs = Layout.of(coarse, "the input")
    if name not in coarse.data_vars:
        return {}
    if theirs.grid.shape[0] >= layout.grid.shape[0] and theirs.grid.shape[1] >= layout.grid.shape[1]:
        raise InputError("--input is as fine as the result", "give the coarse fields that the result was made from")
    values = theirs.take(coarse[name]).reshape(-1, *theirs.grid.shape)
    if len(values) != len(truth):
        return {}
    operator = Coarsening.between(layout.grid, theirs.grid)
    flat = torch.from_numpy(np.nan_to_num(members)).reshape(-1, 1, *layout.grid.shape)
    back = operator.whole(flat).numpy().reshape(len(members), *values.shape)
    there = np.isfinite(values) & operator.kept.numpy()[0]
    error = np.where(there, back - values, 0.0)
    filled = np.where(np.isfinite(values), values, np.nanmean(values))
    cubic = measures.measure(interpolate(filled, theirs.grid, layout.grid, "bicubic")[None], truth, layout.grid, scored)
    return {
        "coarse_consistency": float(np.sqrt(np.square(error).sum() / (there.sum() * len(members)))),
        "bicubic_rmse": cubic["rmse"],
        "bicubic_crps": cubic["crps"],
    }


def _at_observations(
    source: Any, data: "xr.Dataset", name: str, members: "np.ndarray", layout: "Layout"
) -> dict[str, float]:
    """The error of the mean and the CRPS at observations, in SI units."""
    import numpy as np
    import torch

    from ornstein.datasets.fields import pressures
    from ornstein.datasets.quantities import convert, quantity
    from ornstein.datasets.soundings import open_observations
    from ornstein.domains.atmosphere.archive import stamps_of
    from ornstein.domains.atmosphere.measures import crps
    from ornstein.domains.atmosphere.operator import at_points

    known = quantity(name, str(data[name].attrs.get("standard_name", "")))
    if known is None:
        return {}
    seen = open_observations(source).of(known.name)
    _, _, stamps = stamps_of(data, layout.axes.time)
    units = str(data[name].attrs.get("units", "")) or known.units
    levels = pressures(data, layout.axes) if members.shape[2] > 1 or layout.axes.level in data[name].dims else None
    errors, scores = [], []
    hours = (seen.time - np.datetime64("1900-01-01")) / np.timedelta64(1, "h")
    for t in range(members.shape[1]):
        near = np.abs(hours - stamps[t]) < 0.51 if len(stamps) else np.ones(len(seen), bool)
        here = seen.select(near)
        points, inside = at_points(layout.grid, here.latitude, here.longitude, levels, here.pressure, members.shape[2])
        if inside.any():
            values = points.forward(torch.from_numpy(members[:, t].astype(np.float64))).numpy()
            values, wanted = convert(values, units, known.units), here.value[inside]
            errors.append(values.mean(0) - wanted)
            scores.append(crps(values, wanted))
    if not errors:
        return {"observations": 0}
    error, score = np.concatenate(errors), np.concatenate(scores)
    return {
        "observations": len(error),
        "observation_rmse": float(np.sqrt(np.square(error).mean())),
        "observation_crps": float(score.mean()),
    }


def _name(source: Any) -> str:
    return str(source) if not hasattr(source, "data_vars") else "the dataset"

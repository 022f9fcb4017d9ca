"""Maps and spectra of fields, with coastlines where cartopy and its data are there."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure

    from ornstein.datasets.fields import Grid, Layout
    from ornstein.pipelines.report import Report


def show(report: "Report", result: Path, reference: Path | None = None) -> None:
    """Adds maps of the first field of a file at its first time and level: the members' mean, the truth where there is
    one, and the members' deviation where it is known.

    Args:
        report: the page.
        result: the fields that `atmosphere superresolve` wrote.
        reference: the truth, on the same grid or a larger one, or None.

    Raises:
        InputError: for files that hold no fields, or none in common.
    """
    from ornstein.datasets.field_files import open_fields
    from ornstein.datasets.fields import Layout, field_names
    from ornstein.pipelines.atmosphere_scores import same_times, shared_names, window

    made = open_fields(result)
    layout = Layout.of(made, str(result))
    if reference is None:
        name = field_names(made, layout.axes)[0]
    else:
        truth = open_fields(reference)
        name = shared_names(made, truth, layout.axes, str(result))[0]
    mean, deviation = _mean_and_deviation(made, name, layout)
    label = str(made[name].attrs.get("long_name", name))
    panels: list[tuple[str, Any, Grid, bool]] = [
        ("mean" if deviation is not None else "result", mean, layout.grid, False)
    ]
    if reference is not None:
        other = Layout.of(truth, str(reference))
        field = _first(same_times(truth[name], made[name], (layout, other)), other)
        panels.append(("reference", field[window(layout, other, [])], layout.grid, False))
    if deviation is not None:
        panels.append(("deviation", deviation, layout.grid, True))
    report.picture(
        _panels(panels, *_limits(panels), str(made[name].attrs.get("units", ""))),
        f"{label} at the first time: {', '.join(title for title, *_ in panels)}.",
    )


def maps(coarse: "np.ndarray", members: "np.ndarray", grid: "Grid", fine: "Grid", units: str) -> "Figure":
    """The coarse field (rows, columns), the mean, the first of the members (members, rows, columns), their deviation."""
    panels: list[tuple[str, Any, Grid, bool]] = [
        ("coarse", coarse, grid, False),
        ("mean", members.mean(0), fine, False),
    ]
    if len(members) > 1:
        panels += [("a member", members[0], fine, False), ("deviation", members.std(0, ddof=1), fine, True)]
    return _panels(panels, *_limits(panels), units)


def pair(fine: "np.ndarray", coarse: "np.ndarray", fine_grid: "Grid", grid: "Grid") -> "Figure":
    """A fine and a coarse field, (rows, columns) each."""
    import numpy as np

    low, high = np.nanquantile(fine, [0.005, 0.995])
    return _panels([("fine", fine, fine_grid, False), ("coarse", coarse, grid, False)], float(low), float(high), "")


def spectra(coarse: "np.ndarray", members: "np.ndarray", grid: "Grid", fine: "Grid") -> "Figure":
    """Mean power of the waves over wavelength, of the coarse field, the members and their mean."""
    import numpy as np

    from ornstein.domains.atmosphere.covariances import wave_power, wavenumbers
    from ornstein.pipelines.report import figure

    made = figure(6, 3)
    panel = made.subplots()
    rows = [("coarse", coarse[None], grid), ("members", members, fine), ("mean", members.mean(0)[None], fine)]
    for name, fields, its in rows[: 2 + (len(members) > 1)]:
        filled = np.where(np.isfinite(fields), fields, np.nanmean(fields))
        power = wave_power(filled - filled.mean((-2, -1), keepdims=True)) * np.prod(its.kilometres)
        k = wavenumbers(its)
        edges = np.geomspace(k[k > 0].min(), k.max() * 1.001, 16)
        which = np.digitize(k, edges)
        points = [(k[which == b].mean(), power[which == b].mean()) for b in range(1, 16) if (which == b).any()]
        panel.loglog([1000 / x for x, _ in points], [y for _, y in points], label=name)
    panel.invert_xaxis()
    panel.set_xlabel("wavelength, km")
    panel.set_ylabel("power")
    panel.legend(frameon=False)
    return made


def _first(field: "xr.DataArray", layout: "Layout") -> "np.ndarray":
    """A field at its first time and level, (rows, columns); no more than its first time is loaded."""
    time = layout.axes.time
    return layout.take(field.isel({time: slice(0, 1)}) if time in field.dims else field)[0, 0]


def _mean_and_deviation(data: "xr.Dataset", name: str, layout: "Layout") -> "tuple[np.ndarray, np.ndarray | None]":
    """A field's mean over its members and their deviation, of the first time and level, (rows, columns) each."""
    import numpy as np

    field, number = data[name], layout.axes.number
    if number is not None and number in field.dims:
        members = np.stack([_first(field.isel({number: i}), layout) for i in range(field.sizes[number])])
        return members.mean(0), members.std(0, ddof=1) if len(members) > 1 else None
    kept = f"{name}_std"
    return _first(field, layout), _first(data[kept], layout) if kept in data.data_vars else None


def _limits(panels: "list[tuple[str, Any, Grid, bool]]") -> tuple[float, float]:
    """The scale that the panels without one of their own share."""
    import numpy as np

    values = np.concatenate([np.ravel(p[1][np.isfinite(p[1])]) for p in panels if not p[3]])
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) else (0.0, 1.0)
    return float(low), float(high)


def _panels(panels: "list[tuple[str, Any, Grid, bool]]", low: float, high: float, units: str) -> "Figure":
    from ornstein.pipelines.report import figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    ratio = min(1.4, max(0.3, panels[0][2].shape[0] / panels[0][2].shape[1]))
    made = figure(9, 0.6 + rows * (4.4 * ratio + 0.5))
    projection = _projection(panels[0][2])
    for i, (title, values, grid, own) in enumerate(panels):
        panel = made.add_subplot(rows, columns, i + 1, projection=projection)
        limits = {} if own else {"vmin": low, "vmax": high}
        more = {} if projection is None else {"transform": projection}
        mesh = panel.pcolormesh(
            grid.longitude_edges - 360 * (grid.longitudes[0] >= 180), grid.latitude_edges, values, cmap="magma" if own else "viridis", rasterized=True,
            **limits, **more,
        )  # fmt: skip
        if projection is not None:
            panel.coastlines(linewidth=0.6, color="white")
        panel.set_title(title, loc="left", fontsize=10)
        made.colorbar(mesh, ax=panel, label=units, shrink=0.8)
    return made


def _projection(grid: "Grid") -> Any:
    """A plate carree of cartopy, or None where cartopy, or the coastlines that it would download, are not there."""
    try:
        import cartopy.crs
        import cartopy.io
        from cartopy.feature import COASTLINE

        cartopy.config["pre_existing_data_dir"]
        found = list(cartopy.config["data_dir"].glob("**/ne_110m_coastline.shp")) if hasattr(
            cartopy.config["data_dir"], "glob"
        ) else []  # fmt: skip
        return cartopy.crs.PlateCarree() if found and COASTLINE is not None else None
    except (ImportError, KeyError, AttributeError):
        return None

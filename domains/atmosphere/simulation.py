"""Coarse fields of fine ones, to try super-resolution on."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import xarray as xr

from ornstein.core.errors import InputError
from ornstein.datasets.field_files import check_values
from ornstein.datasets.fields import Layout, field_names
from ornstein.domains.atmosphere.operator import Coarsening


def coarsened(
    data: xr.Dataset, factor: int, kind: Literal["mean", "point"], times: slice, name: str
) -> tuple[Mapping[str, np.ndarray], Layout]:
    """Some times of a dataset's fields on the grid of blocks of factor x factor cells, and its layout.

    A block's mean is over the cells with values, by area; where these are less than half of its area it is missing.
    """
    layout = Layout.of(data, name)
    coarse = layout.coarsened(factor)
    operator = Coarsening.between(layout.grid, coarse.grid, kind)
    made, time = {}, layout.axes.time
    for field_name in field_names(data, layout.axes):
        here = data[field_name]
        here = here.isel({time: times}) if time in here.dims else here
        try:
            values = torch.from_numpy(layout.take(here).astype(np.float64))
        except (OSError, RuntimeError, KeyError) as error:
            raise InputError(f"{name}: {field_name} cannot be read: {error}", "is the file whole?") from error
        check_values(here, values.numpy(), name)
        there = values.isfinite().double()
        share = operator.whole(there)
        mean = operator.whole(torch.nan_to_num(values)) / share.clamp(min=1e-9)
        made[field_name] = torch.where(share >= 0.5, mean, torch.nan).numpy()
    return made, coarse

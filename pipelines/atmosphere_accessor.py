"""The accessor of xarray datasets: `ds.ornstein.superresolve(factor=4, observations=obs, members=16)`."""

from typing import Any

import xarray as xr


@xr.register_dataset_accessor("ornstein")
class OrnsteinAccessor:
    """What Ornstein does with a dataset; it is there once `ornstein` and `xarray` are imported, in any order.

    Args:
        data: the dataset.
    """

    def __init__(self, data: xr.Dataset) -> None:
        self._data = data

    def superresolve(self, **options: Any) -> xr.Dataset:
        """The ensemble of fine fields; the options of `ornstein.atmosphere.superresolve`."""
        from ornstein.pipelines.atmosphere import superresolve

        return superresolve(self._data, **options).dataset

    def simulate(self, **options: Any) -> xr.Dataset:
        """Coarse fields; the options of `ornstein.atmosphere.simulate`."""
        from ornstein.pipelines.atmosphere import simulate

        return simulate(self._data, **options).dataset

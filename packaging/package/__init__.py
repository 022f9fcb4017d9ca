"""Ornstein: diffusion models for science.

`ornstein.core` is the shared diffusion core; `ornstein.mri` and the other domains are its pipelines.
"""

import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import sys

__version__ = importlib.metadata.version("ornstein")

_PIPELINES = ("mri", "speech", "atmosphere", "molecule", "graph")


def __getattr__(name: str):
    # Domains are loaded when they are first named, so that `import ornstein` stays quick.
    if name in _PIPELINES:
        return importlib.import_module(f"ornstein.pipelines.{name}")
    raise AttributeError(f"module 'ornstein' has no attribute {name!r}; domains: {', '.join(_PIPELINES)}")


def __dir__() -> list[str]:
    return [*globals(), *_PIPELINES]


class _WithAccessor(importlib.abc.MetaPathFinder):
    """Gives xarray the accessor `ds.ornstein` when it is imported: importing it here would take seconds."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "xarray":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module):
                load(module)
                importlib.import_module("ornstein.pipelines.atmosphere_accessor")

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


if "xarray" in sys.modules:
    importlib.import_module("ornstein.pipelines.atmosphere_accessor")
else:
    sys.meta_path.insert(0, _WithAccessor())

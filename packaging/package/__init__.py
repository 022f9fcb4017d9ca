"""Ornstein: diffusion models for science.

`ornstein.core` is the shared diffusion core; `ornstein.mri` and the other domains are its pipelines.
"""

import importlib
import importlib.metadata

__version__ = importlib.metadata.version("ornstein")

_PIPELINES = ("mri",)


def __getattr__(name: str):
    # Domains are loaded when they are first named, so that `import ornstein` stays quick.
    if name in _PIPELINES:
        return importlib.import_module(f"ornstein.pipelines.{name}")
    raise AttributeError(f"module 'ornstein' has no attribute {name!r}; domains: {', '.join(_PIPELINES)}")


def __dir__() -> list[str]:
    return [*globals(), *_PIPELINES]

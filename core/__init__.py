"""One diffusion core: paths, denoisers, solvers, inverse problems, networks and training, free of any science.

from ornstein.core import Denoiser, paths, sample
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ornstein.core.denoisers import Denoiser as Denoiser
    from ornstein.core.solvers import sample as sample


def __getattr__(name: str) -> Any:
    # Loaded when first named: the errors of this package are needed where torch is not.
    if name == "Denoiser":
        from ornstein.core.denoisers import Denoiser

        return Denoiser
    if name == "sample":
        from ornstein.core.solvers import sample

        return sample
    raise AttributeError(f"module 'ornstein.core' has no attribute {name!r}")

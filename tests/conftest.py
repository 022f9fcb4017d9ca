"""What the tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# One thread a test: the suite shares its cores, and small tensors gain nothing from more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("ornstein", deadline=None, max_examples=25)
settings.load_profile("ornstein")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """The folder of real data beside the checkout; the test is skipped where it is absent."""
    folder = repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}")
    return folder


@pytest.fixture(scope="session")
def assert_adjoint():
    """Checks <A x, y> = <x, A^H y> for Gaussian x and y, relative to |A x| |y|.

    `assert_adjoint(operator, domain_shape, range_shape, dtype=torch.complex64, tolerance=1e-6)`, with batched shapes.
    The inner products are taken in float64, so that what is compared is the operator's own error.
    """
    import torch

    def check(operator, domain_shape, range_shape, dtype=torch.complex64, tolerance=1e-6, seed=0) -> None:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(domain_shape, dtype=dtype, generator=generator)
        y = torch.randn(range_shape, dtype=dtype, generator=generator)
        image, back = operator.forward(x), operator.adjoint(y)
        assert image.shape == y.shape, f"forward gives {tuple(image.shape)}, range is {tuple(y.shape)}"
        assert back.shape == x.shape, f"adjoint gives {tuple(back.shape)}, domain is {tuple(x.shape)}"
        wide = torch.complex128 if dtype.is_complex else torch.float64
        image, back, x, y = (v.to(wide).flatten() for v in (image, back, x, y))
        gap = abs(torch.vdot(image, y) - torch.vdot(x, back))
        assert gap <= tolerance * (image.norm() * y.norm() + 1e-30), (
            f"adjoint is off by {gap / (image.norm() * y.norm())}"
        )

    return check

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

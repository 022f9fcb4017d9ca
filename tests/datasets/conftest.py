"""The scanner of ISMRMRD files, importable as `ismrmrd_scanner`."""

import sys
from pathlib import Path

import pytest

from ornstein.datasets import hdf5_check

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def trusted():
    """The files are sound: no child process looks at each (test_hdf5_check.py tests that)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5_check, "check", lambda *_: None)
        yield

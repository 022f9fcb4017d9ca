"""The core alone: what it exports."""

import subprocess
import sys


def test_core_is_usable_alone_and_loads_no_domain():
    code = (
        "import sys; from ornstein.core import Denoiser, paths, sample; "
        "assert callable(sample) and isinstance(Denoiser, type) and paths.EDM(); "
        "assert not any(m.startswith(('ornstein.domains', 'ornstein.pipelines', 'monai')) for m in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

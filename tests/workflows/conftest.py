"""A copy of the workflow, as `ornstein workflow init` makes it, and Snakemake in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("snakemake", reason="needs Snakemake, which the group `dev` brings")


class Study:
    """A folder with the workflow.

    Attributes:
        folder: where it stands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sheet(self, text: str) -> None:
        """Writes the sample sheet."""
        (self.folder / "config" / "samples.tsv").write_text(text, encoding="utf-8")

    def configure(self, **changes) -> None:
        """Changes parts of config.yaml."""
        file = self.folder / "config" / "config.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))

    def touch(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def snakemake(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        cache = str(self.folder / "cache")
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *words],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "XDG_CACHE_HOME": cache},
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture
def study(tmp_path, request):
    """A copy of the workflow of the domain after which the test file is called."""
    from ornstein.pipelines import workflow

    workflow.init(request.path.stem.removeprefix("test_"), str(tmp_path / "study"))
    return Study(tmp_path / "study")

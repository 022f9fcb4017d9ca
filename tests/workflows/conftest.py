"""A copy of the workflow, as `ornstein workflow init` makes it, and Snakemake in a process of its own."""

import csv
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("snakemake", reason="needs Snakemake, which the group `dev` brings")

LOCAL = ("--cores", "1", "--workflow-profile", "profiles/local")


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

    def plan(self, *words: str) -> list[list[str]]:
        """The commands that a dry run announces, each as its words."""
        done = self.snakemake("--dry-run", "--printshellcmds", *words)
        assert done.returncode == 0, done.stderr
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Shell command: ")]
        commands = [line.removeprefix("Shell command: ") for line in lines]
        return [shlex.split(command) for command in commands if command != "None"]

    def refusal(self) -> str:
        """What a run says that is refused before anything runs."""
        done = self.snakemake("--cores", "1")
        assert done.returncode != 0 and not (self.folder / "results").exists()
        return done.stdout + done.stderr

    def run(self, timeout: float = 600) -> Path:
        """Runs everything; the folder of the results."""
        done = self.snakemake(*LOCAL, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return self.folder / "results"

    def table(self) -> list[dict[str, str]]:
        """The rows of measures.tsv."""
        with open(self.folder / "results" / "measures.tsv", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def assert_done(self) -> None:
        """A further run finds nothing to do."""
        again = self.snakemake(*LOCAL)
        assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


@pytest.fixture
def workflow(request) -> str:
    """The workflow after which the test file is called; a test about all of them parametrizes it."""
    return request.path.stem.removeprefix("test_")


@pytest.fixture
def source(repository, workflow) -> Path:
    """The workflow in the checkout."""
    return repository / "workflows" / workflow


@pytest.fixture
def schema(source):
    """`schema(name)`: the workflow's schema of `config` or `samples`."""
    return lambda name: yaml.safe_load((source / "workflow" / "schemas" / f"{name}.schema.yaml").read_text())


@pytest.fixture
def problems(schema):
    """`problems(name, value)`: what the schema of that name finds wrong in a value."""
    from jsonschema import Draft202012Validator  # comes with Snakemake

    return lambda name, value: list(Draft202012Validator(schema(name)).iter_errors(value))


@pytest.fixture(
    params=["k;y", "$(y)", "`y`", "a|b", "a&b", "{sample}", "{name}", "*.h5", "-o", "a\nb", "a'b", 'a"b', "a\\b"]
)
def hostile(request) -> str:
    """A path that a shell, Snakemake or the command line would read as something else."""
    return request.param


@pytest.fixture
def study(tmp_path, workflow) -> Study:
    """A copy of the workflow."""
    from ornstein.pipelines.workflow import init

    init(workflow, str(tmp_path / "study"))
    return Study(tmp_path / "study")

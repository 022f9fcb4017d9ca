"""The tiny domain, put where the command line looks for domains, and made-up weather, importable as `toy_weather`."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
TINY = Path(__file__).with_name("tiny.py")
LAUNCH = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("ornstein.pipelines.tiny", {tiny!r})
module = importlib.util.module_from_spec(spec); sys.modules[spec.name] = module; spec.loader.exec_module(module)
from ornstein.pipelines import cli
cli.DOMAINS["tiny"] = "numbers"
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def tiny(monkeypatch):
    """The module of the tiny domain, known to the command line while the test runs."""
    from ornstein.pipelines import cli

    spec = importlib.util.spec_from_file_location("ornstein.pipelines.tiny", TINY)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(cli.DOMAINS, "tiny", "numbers")
    return module


@pytest.fixture
def ornstein(tiny, capfd):
    """Runs a command line in this process: (exit status, standard output, standard error)."""
    from ornstein.pipelines import cli

    def run(*words):
        capfd.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:  # argparse leaves so after --help
            code = end.code
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def start():
    """Starts a command line, the tiny domain included, as a process of its own."""
    started = []

    def run(*words, **options):
        command = [sys.executable, "-c", LAUNCH.format(tiny=str(TINY)), *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def numbers(tmp_path):
    """A file with the list [1, 2]."""
    file = tmp_path / "a.num"
    file.write_text("[1, 2]")
    return file


@pytest.fixture(scope="module")
def weather_model(tmp_path_factory):
    """The folder of a model of made-up weather."""
    import toy_weather

    folder = tmp_path_factory.mktemp("model")
    toy_weather.save_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def coarse():
    """Made-up weather at a quarter of its resolution."""
    import toy_weather

    from ornstein.pipelines import atmosphere

    return atmosphere.simulate(toy_weather.fine_dataset(), factor=4).dataset

"""One package in the wheel, Hugging Face's `datasets` beside it, and imports that run one way."""

import ast
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

LAYERS = ["core", "datasets", "domains", "pipelines"]
ALLOWED_IN_CORE = {"torch", "numpy", "safetensors", "ornstein"}


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory):
    """The built wheel, open. Built without isolation, so that nothing is asked of the network."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


def sources(repository, folder):
    return sorted(path for path in (repository / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its layer"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_wheel_holds_one_package_and_its_metadata(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"ornstein"}


def test_wheel_holds_every_source_and_data_file(wheel, repository):
    inside = set(wheel.namelist())
    for name in ("ornstein/__init__.py", "ornstein/__main__.py", "ornstein/py.typed"):
        assert name in inside
    tracked = subprocess.run(["git", "ls-files", *LAYERS, "workflows"], cwd=repository, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    missing = [
        name
        for name in tracked.stdout.splitlines()
        if (repository / name).exists() and f"ornstein/{name}" not in inside
    ]
    assert missing == []


def test_source_archive_holds_every_source_also_beside_an_editable_build(repository, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path.relative_to(repository).as_posix() for layer in LAYERS for path in sources(repository, layer)}
    assert wanted - inside == set()
    assert {"pyproject.toml", "LICENSE", "packaging/hatch_hook.py"} <= inside
    assert not any(name.startswith(("build/", ".venv")) for name in inside)


def test_wheel_carries_weights_with_their_cards(wheel, repository):
    inside = set(wheel.namelist())
    cards = [path.relative_to(repository) for path in repository.glob("domains/*/weights/*/card.json")]
    for card in cards:
        for name in ("card.json", "model.safetensors"):
            assert f"ornstein/{card.with_name(name).as_posix()}" in inside


def test_all_weights_together_stay_small(repository):
    total = sum(path.stat().st_size for path in repository.glob("domains/*/weights/**/*") if path.is_file())
    assert total < 28 * 2**20


def test_wheel_metadata_names_the_command_and_the_licence(wheel):
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "ornstein = ornstein.pipelines.cli:main" in wheel.read(entry).decode()
    (licence,) = (name for name in wheel.namelist() if name.endswith("LICENSE"))
    assert "Apache License" in wheel.read(licence).decode()


def test_wheel_works_where_only_it_stands(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import ornstein; from ornstein.pipelines import cli; print(cli.__file__); cli.main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path)) and "mri" in done.stdout


def test_python_m_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "ornstein", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ornstein ")


def test_datasets_is_hugging_faces_in_the_repositorys_root(repository):
    if not any((Path(folder) / "datasets" / "__init__.py").is_file() for folder in sys.path):
        pytest.skip("Hugging Face's datasets are not installed")
    done = subprocess.run(
        [sys.executable, "-c", "import datasets; print(datasets.__file__)"],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "site-packages" in done.stdout and done.stdout.strip().endswith("__init__.py")


def test_no_folder_of_ours_reaches_site_packages():
    import sysconfig

    site = Path(sysconfig.get_paths()["purelib"])
    assert not (site / "core").exists() and not (site / "domains").exists() and not (site / "pipelines").exists()


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(repository, layer):
    above = tuple(f"ornstein.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :])
    wrong = [
        f"{path.relative_to(repository)}: {name}"
        for path in sources(repository, layer)
        for name in imports(path)
        if above and name.startswith(above)
    ]
    assert wrong == []


def test_core_knows_torch_and_numpy_and_no_science(repository):
    known = ALLOWED_IN_CORE | set(sys.stdlib_module_names)
    wrong = [
        f"{path.relative_to(repository)}: {name}"
        for path in sources(repository, "core")
        for name in imports(path)
        if name.split(".")[0] not in known
    ]
    assert wrong == []


def test_domains_never_import_each_other(repository):
    wrong = [
        f"{path.relative_to(repository)}: {name}"
        for path in sources(repository, "domains")
        for name in imports(path)
        if name.startswith("ornstein.domains.") and name.split(".")[2] != path.relative_to(repository).parts[1]
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", [*LAYERS, "workflows"])
def test_nothing_unsafe_is_called(repository, folder):
    """No pickle, no eval, no shell, no unsafe YAML: what a file from a stranger could misuse."""
    wrong = []
    for path in sources(repository, folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                wrong += [
                    f"{path}: {name}"
                    for name in names
                    if name in ("pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal")
                ]
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if name in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "torch.load", "os.system", "pickle.load"):
                    wrong.append(f"{path}:{node.lineno}: {name}")
                if keywords.get("shell") == "True" or keywords.get("allow_pickle") == "True":
                    wrong.append(f"{path}:{node.lineno}: {name}({keywords})")
    assert wrong == []


def test_no_address_of_a_package_registry_is_written_down(repository):
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert "://" not in text and "index-url" not in text

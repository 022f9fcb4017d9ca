"""What the documents say exists: their links lead somewhere, and their commands are those of the command line."""

import importlib
import re

import pytest

from ornstein.pipelines import cli
from ornstein.pipelines.signature import parameters

DOCUMENTS = ("README.md", "docs/index.md", "docs/mri.md", "docs/command-line.md", "docs/architecture.md")
DOCUMENTS += ("docs/speech.md", "docs/atmosphere.md", "docs/molecules.md", "docs/graphs.md")
DOCUMENTS += tuple(
    f"workflows/{domain}/{name}"
    for domain in ("mri", "speech", "atmosphere", "molecules", "graphs")
    for name in ("README.md", "config/README.md")
)
COMMON = {
    "-o",
    "--output",
    "--overwrite",
    "--resume",
    "--report",
    "--json",
    "--quiet",
    "--debug",
    "--help",
    "--version",
}

NO_FILES = ("domains/DOMAIN/weights/NAME/", "datasets/__init__.py")
"""A pattern, and a file whose absence is told."""
COMMAND = re.compile(r"(?:^    |`|uv run )(ornstein [a-z][^`#\n]*)", re.MULTILINE)


def options() -> set[str]:
    """Every option of any command."""
    from ornstein.pipelines import quickstart, summary, train

    modules = [importlib.import_module(f"ornstein.pipelines.{domain}") for domain in cli.DOMAINS]
    functions = [verb.function for module in modules for verb in module.VERBS]
    functions += [module.evaluate for module in modules]
    functions += [quickstart.quickstart, summary.summarise, train.train]
    return COMMON | {p.flag for function in functions for p in parameters(function)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(repository, document):
    text = (repository / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert ((repository / document).parent / link).exists(), f"{document}: {link}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(repository, document):
    text = (repository / document).read_text(encoding="utf-8")
    for name in re.findall(r"`((?:core|datasets|domains|pipelines|packaging)/[\w/.-]+)`", text):
        assert (repository / name).exists() or name in NO_FILES, f"{document}: {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_are_those_of_the_command_line(repository, document):
    text = (repository / document).read_text(encoding="utf-8")
    known = options()
    for command in COMMAND.findall(text):
        children = cli._root()
        for word in command.split()[1:]:
            if not children or word not in children:
                break
            children = children[word].children() if children[word].children else {}
        assert children == {}, f"{document}: {command}: unknown word; known: {', '.join(children)}"
        unknown = set(re.findall(r"(?<=[\s\[])--?[a-z][a-z-]*", command)) - known
        assert not unknown, f"{document}: {command}: {unknown}"


def test_the_readme_shows_the_main_commands(repository):
    shown = " ".join(COMMAND.findall((repository / "README.md").read_text(encoding="utf-8")))
    for words in ("quickstart", "mri simulate", "mri reconstruct", "evaluate mri", "workflow init mri"):
        assert f"ornstein {words}" in shown


def test_every_exit_code_stands_in_the_readme(repository):
    from ornstein.core import errors

    text = (repository / "README.md").read_text(encoding="utf-8")
    codes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OrnsteinError)
    }
    assert all(f"| {code} |" in text for code in (codes - {1}) | {0, 130})

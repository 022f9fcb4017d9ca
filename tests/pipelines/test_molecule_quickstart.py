"""The quickstarts of molecules and graphs, with stand-ins for their models."""

import importlib
import sys
from pathlib import Path

import networkx as nx
import pytest

from ornstein.pipelines import graph, graph_quickstart, models, molecule, molecule_quickstart
from ornstein.pipelines.console import Console
from ornstein.pipelines.report import Report


@pytest.fixture
def standin(tmp_path, monkeypatch):
    """The stand-ins, found where shipped models are."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    module = importlib.import_module("standin")
    module.folder(tmp_path / "weights" / "chains", name="chains", domain="molecule")
    module.folder(tmp_path / "weights" / "sets", name="sets", domain="graph", sets=["community-small"])
    monkeypatch.setattr(models, "weights_folders", lambda: sorted((tmp_path / "weights").iterdir()))
    yield module
    sys.modules.pop("standin", None)


def test_molecules_stand_beside_independent_atoms_and_bonds(standin, tmp_path, monkeypatch):
    monkeypatch.setattr(molecule, "_load", lambda folder, device: standin.Molecules(standin.Chains()))
    monkeypatch.setattr(molecule_quickstart, "SCAFFOLD", "CO")
    monkeypatch.setattr(molecule_quickstart, "COUNT", 16)
    page = Report("quickstart")
    shown = molecule_quickstart.demonstrate(tmp_path, page, "cpu", 0, Console(quiet=True))
    valid = {row[0]: row[1] for row in shown.rows}
    assert valid["diffusion"] >= 0.4 > 0.1 >= valid["independent places"]
    assert len(list(tmp_path.glob("*.sdf"))) == 3 and page.html().count("data:image/png") == 3
    assert len(shown.head) == len(shown.rows[0]) and shown.model["name"] == "chains"


def test_graphs_stand_beside_random_ones(standin, tmp_path, monkeypatch):
    """Where the stand-in makes communities by the recipe, it is nearer to them than random graphs are."""
    monkeypatch.setattr(graph, "_load", lambda folder, device: None)
    monkeypatch.setattr(graph, "_most_nodes", lambda model, name: 20)
    monkeypatch.setattr(
        graph, "_draw", lambda model, name, items, settings: graph_quickstart.communities(len(items), 7)
    )
    monkeypatch.setattr(graph_quickstart, "COUNT", 12)
    page = Report("quickstart")
    shown = graph_quickstart.demonstrate(tmp_path, page, "cpu", 0, Console(quiet=True))
    means = {row[0]: row[-1] for row in shown.rows}
    assert means["Erdos-Renyi"] > 2 * means["diffusion"]
    assert page.html().count("data:image/png") == 3


def test_communities_are_those_of_the_recipe():
    made = [g.to_networkx() for g in graph_quickstart.communities(30, 0)]
    assert all(nx.is_connected(g) and 12 <= len(g) <= 20 for g in made)
    assert 0.3 < sum(nx.density(g) for g in made) / 30 < 0.45

"""Models of every kind are found by their cards, and what a kind cannot do is said."""

import pytest
import torch

from ornstein.core.checkpoints import save_model
from ornstein.core.discrete.samplers import Ancestral
from ornstein.core.errors import ModelError, UsageError
from ornstein.datasets.molecules import Vocabulary
from ornstein.domains.molecules import generation, score, strings
from ornstein.domains.molecules.design import allowed_sizes, check, draw, load
from ornstein.domains.molecules.parts import read_part
from ornstein.domains.molecules.wishes import Wish

VOCABULARY = Vocabulary((("C", 0), ("N", 0), ("O", 0)))
SMALL = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "product": 2, "expansion": 1.0, "walks": 2}
SIZES = [0.0, 0.0, 0.5, 0.3, 0.2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind of model, with fresh weights."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    frequencies = {"nodes": [0.6, 0.2, 0.2], "edges": [0.6, 0.3, 0.05, 0.05]}
    common = {
        "domain": "molecule",
        "architecture": SMALL,
        "vocabulary": VOCABULARY.to_json(),
        "sizes": SIZES,
        "steps": 3,
    }
    graph = generation.build(SMALL, generation.paths_from("masked", "linear", frequencies))
    card = {"path": "masked", "schedule": "linear", "frequencies": frequencies, "sampler": {}}
    save_model(root / "graph", graph.network.state_dict(), common | card)
    save_model(
        root / "score", score.build(SMALL, 3).network.state_dict(), common | {"path": "gaussian", "sampler": {}}
    )  # fmt: skip
    architecture, words = {"width": 24, "depth": 1, "heads": 2}, ["*C", "*N", "*O", "*C*"]
    card = {"domain": "molecule", "representation": "strings", "architecture": architecture,
            "pieces": {"words": words, "merges": []}, "frequencies": [0.4, 0.2, 0.1, 0.3]}  # fmt: skip
    sizes = torch.diag(torch.tensor(SIZES)).tolist()
    network = strings.build(architecture, card["frequencies"]).network
    save_model(root / "strings", network.state_dict(), card | {"sizes": sizes})
    return root


@pytest.mark.parametrize("kind", ["graph", "score", "strings"])
def test_each_kind_is_loaded_and_drawn_from(folders, kind):
    model = load(folders / kind)
    attempts = draw(model, range(6), Wish(atoms=(2, 3)))
    assert len(attempts) == 6
    assert {a.molecule.GetNumAtoms() for a in attempts if a.valid} <= {2, 3}
    again = draw(model, [4, 1], Wish(atoms=(2, 3)))
    assert [a.smiles for a in again] == [attempts[4].smiles, attempts[1].smiles] or kind == "score"


def test_folder_of_something_else_is_refused(tmp_path):
    save_model(tmp_path / "other", {"nothing": torch.zeros(1)}, {"domain": "molecule"})
    with pytest.raises(ModelError, match="not a molecule model"):
        load(tmp_path / "other")


def test_score_based_models_refuse_what_they_cannot_do(folders):
    model = load(folders / "score")
    with pytest.raises(UsageError, match="holds parts"):
        check(model, Wish(parts=[read_part("CO", VOCABULARY, "--scaffold")]))
    with pytest.raises(UsageError, match="solver of its own"):
        draw(model, range(2), sampler=Ancestral())


def test_sizes_leave_room_for_what_grows(folders):
    model = load(folders / "graph")
    pair = read_part("CO", VOCABULARY, "--scaffold")
    assert allowed_sizes(model, Wish(parts=[pair])).tolist() == pytest.approx([0, 0, 0, 0.6, 0.4])
    assert allowed_sizes(model, Wish(parts=[pair, pair])).tolist() == [0, 0, 0, 0, 1]  # as large as it gets
    with pytest.raises(UsageError, match="2 to 4"):
        allowed_sizes(model, Wish(parts=[pair, read_part("CCC", VOCABULARY, "--fragment")]))
    with pytest.raises(UsageError, match="at most 2"):
        allowed_sizes(model, Wish(parts=[pair], atoms=(2, 2)))

"""`ornstein train` reads a configuration of any domain and trains its model."""

import json
from pathlib import Path

import pytest
import yaml

from ornstein.core.errors import InputError, UsageError
from ornstein.pipelines.train import TRAINERS, train

SMALL = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "product": 2, "walks": 3, "batch": 4}
ONE_STEP = {"steps": 1, "warmup": 1, "precision": "fp32"}
GRAPHS = [
    {"nodes": [{"id": 0}, {"id": 1}, {"id": 2}], "edges": [{"source": 0, "target": 1}, {"source": 1, "target": 2}]}
]


def settings(domain: str, folder: Path) -> dict:
    common = {"domain": domain, "output": str(folder / "model"), "name": "tiny", "training": ONE_STEP, **SMALL}
    if domain == "graph":
        (folder / "data.json").write_text(json.dumps(GRAPHS))
        return {**common, "data": [{"name": "paths", "path": str(folder / "data.json")}]}
    (folder / "data.smi").write_text("CCO\nCC\n")
    return {**common, "data": {"path": str(folder / "data.smi")}}


@pytest.mark.parametrize("domain", ["graph", "molecule"])
def test_a_configuration_makes_a_model_of_its_domain(domain: str, tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(domain, tmp_path)))
    answer = train(str(config), device="cpu")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert answer.record == {"model": str(tmp_path / "model")} and card["domain"] == domain


def test_unknown_domains_and_files_are_refused(tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("domain: astrology\n")
    with pytest.raises(UsageError, match="astrology") as error:
        train(str(config))
    assert all(domain in error.value.hint for domain in TRAINERS)
    for text, said in (("- 1\n", "mapping"), ("a: [", "YAML")):
        config.write_text(text)
        with pytest.raises(InputError, match=said):
            train(str(config))
    with pytest.raises(InputError, match="cannot be read"):
        train(str(tmp_path / "none.yaml"))

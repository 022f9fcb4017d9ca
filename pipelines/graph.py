"""Graphs: generated like those of a set, and measured beside others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ornstein.core.errors import ModelError, UsageError
from ornstein.pipelines import models, runtime
from ornstein.pipelines.answers import Answer
from ornstein.pipelines.discrete import Count, ModelSteps, Solver, batch_size, sampler_named
from ornstein.pipelines.evaluate import answer
from ornstein.pipelines.graph_results import GraphGeneration
from ornstein.pipelines.options import Device, InputFile, MaxMemory, Precision, Progress, Seed
from ornstein.pipelines.signature import Option
from ornstein.pipelines.verbs import verb

if TYPE_CHECKING:
    from ornstein.datasets.graphs import Graph

GraphModel = Annotated[
    str | None,
    Option("a set of graphs, such as community-small, or FOLDER or FOLDER:SET of a checkpoint", metavar="NAME", none="auto"),
]  # fmt: skip


@verb(inputs=(), outputs=(".json",))
def generate(
    *,
    n: Count = 100,
    model: GraphModel = None,
    steps: ModelSteps = None,
    solver: Solver = "auto",
    device: Device = "auto",
    precision: Precision = "fp32",
    max_memory: MaxMemory = None,
    seed: Seed = 0,
    progress: Progress = None,
) -> GraphGeneration:
    """Makes graphs like those of a set.

    Args:
        n: graphs

    Raises:
        UsageError: where the model has several sets and none is chosen.
        ModelError: for an unknown or damaged model.
    """
    place = runtime.choose_device(device)
    runtime.check_precision(precision, place)
    chosen, name = choose(model)
    loaded = _load(chosen.folder, place)
    size = batch_size(_most_nodes(loaded, name), 1, max_memory, place)
    made: list[Graph] = []
    settings = {"steps": steps, "sampler": sampler_named(solver), "seed": seed, "device": place, "precision": precision}
    while len(made) < n:
        made += _draw(loaded, name, range(len(made), min(n, len(made) + size)), settings)
        if progress is not None:
            progress(len(made), n)
    result = GraphGeneration(made, name, seed)
    result.model = chosen.identity
    return result


def evaluate(
    result: str,
    reference: str,
    *,
    train: InputFile = None,
    valid: Annotated[Literal["auto", "tree", "planar", "connected", "none"], Option()] = "auto",
) -> Answer:
    """Compares sets of graphs: MMDs of degrees, clustering, orbits and spectra, validity, uniqueness, novelty.

    Args:
        result: the graphs to judge (.json in node-link form, or .npz)
        reference: graphs that no one trained on
        train: what the model was trained on: for the floor of the MMDs and for novelty
        valid: what a graph must be; auto is what all of the reference are
    """
    from ornstein.datasets.graphs import as_graphs
    from ornstein.domains.graphs.measures import measure

    sets = [as_graphs(one, name) for one, name in ((result, "result"), (reference, "reference"))]
    learned = None if train is None else as_graphs(train, "train")
    measures = measure(sets[0], sets[1], learned, valid)
    names = [str(one) if isinstance(one, (str, Path)) else f"<{len(one)} graphs>" for one in (result, reference)]
    return answer(names[0], names[1], measures)


def train_model(settings: dict[str, Any], device: Any, log: Callable[[str], None]) -> Path:
    """Trains a graph model from the settings of a configuration file; the folder of the model."""
    from ornstein.domains.graphs import training

    return training.train_from_settings(settings, device=device, log=log)


VERBS = (generate,)


def choose(name: str | None) -> tuple[models.Model, str]:
    """The model and the set that a user means: a shipped model's set, `FOLDER`, `FOLDER:SET`, or, for None, the default's first.

    Raises:
        UsageError: where the model has several sets, or not this one.
        ModelError: for an unknown or damaged model.
    """
    if name is None:
        found = models.find_model(None, "graph")
        return found, _sets(found)[0]
    for shipped in models.shipped("graph"):
        if name in _sets(shipped):
            return shipped.verify(), name
    place, _, chosen = name.rpartition(":") if ":" in name and not Path(name).is_dir() else (name, "", "")
    try:
        found = models.find_model(place, "graph")
    except ModelError as error:
        if Path(place).is_dir() or any(model.name == place for model in models.shipped("graph")):
            raise
        known = [one for model in models.shipped("graph") for one in _sets(model)]
        raise ModelError(
            str(error), f"known: {', '.join(known)}; or give FOLDER or FOLDER:SET of a checkpoint"
        ) from None
    sets = _sets(found)
    if chosen in sets:
        return found, chosen
    if chosen or len(sets) > 1:
        raise UsageError(
            f"model {place} knows the sets {', '.join(sets)}" + (f", not {chosen!r}" if chosen else ""),
            f"choose one: --model {place}:{sets[0]}",
        )
    return found, sets[0]


def _sets(model: models.Model) -> Sequence[str]:
    """The sets that a model knows; one that is not told apart has its own name."""
    return [str(name) for name in model.card.get("sets", [])] or [model.name]


def _load(folder: Path, device: Any) -> Any:
    """The model of a folder, on the device."""
    from ornstein.domains.graphs.generation import load_generator

    return load_generator(folder, device)


def _most_nodes(model: Any, name: str) -> int:
    return int(model.largest(name))


def _draw(model: Any, name: str, items: range, settings: dict[str, Any]) -> "list[Graph]":
    """The graphs of these numbers."""
    from ornstein.datasets.graphs import from_batch
    from ornstein.domains.graphs.generation import generate as drawn

    try:
        _, edges, mask = drawn(model, name, items, **settings)
    except ValueError as error:
        raise UsageError(f"this model cannot be sampled so: {error}", "leave --solver to the model") from error
    return from_batch(edges, mask)

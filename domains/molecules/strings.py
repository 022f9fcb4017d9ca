"""Molecules as strings of fragments: masked diffusion over them, trained from a configuration, and loaded."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ornstein.core.checkpoints import load_model, load_tensors, save_model, save_tensors, write_json
from ornstein.core.configuration import Configuration
from ornstein.core.discrete.denoisers import CategoricalDenoiser, NetworkCategorical, States
from ornstein.core.discrete.objectives import cross_entropy_loss
from ornstein.core.discrete.paths import Masked
from ornstein.core.errors import InputError, ModelError
from ornstein.core.networks.transformer import Transformer
from ornstein.core.noise import key
from ornstein.core.pairs import node_mask
from ornstein.core.training.loop import TrainingSettings, explained, load_average, train, world
from ornstein.core.training.objectives import stratified
from ornstein.domains.molecules.grammar import Grammar, GrammaticalDenoiser
from ornstein.domains.molecules.pieces import Pieces

LONGEST = 64
"""The most pieces of a molecule."""
LEARNT_FROM = 100_000
"""Pieces are learnt from so many strings at most."""
POOL = 16
"""Batches are made so many at a time, of molecules of like length: little of them is padding."""


class TokenNetwork(nn.Module):
    """A transformer on tokens, which know how far they are from both ends and how many atoms the molecule is to have.

    It does not see the time: the best answer to a masked state does not depend on it (Zheng et al. 2024, arXiv:2409.02908).

    Args:
        tokens: of the vocabulary, at least 1.
        width, depth, heads: of the transformer.
    """

    def __init__(self, tokens: int, width: int = 128, depth: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.states = tokens + 1
        self.transformer = Transformer(
            0,
            self.states + 5,
            tokens,
            width,
            depth,
            heads,
            embedding=16,
            positions=True,
            longest=float(LONGEST),
            expansion=3.0,
        )

    def forward(self, x: States, t: Tensor, masks: States, atoms: Tensor) -> dict[str, Tensor]:
        """`atoms` is the number of heavy atoms, (batch,)."""
        mask = masks["tokens"]
        place = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        left = mask.sum(1, keepdim=True) - 1 - place
        size = (atoms / LONGEST)[:, None].expand(mask.shape)
        seen = torch.stack([place / LONGEST, left / LONGEST, place == 0, left == 0, size], dim=-1)
        state = F.one_hot(x["tokens"], self.states).float()
        label = torch.zeros(len(mask), device=mask.device)
        return {"tokens": self.transformer(state, label, features=seen.float(), mask=mask)}


@dataclass(frozen=True)
class StringConfiguration(Configuration):
    """Everything that makes a model of strings; `ornstein train` reads it from YAML, with `representation: strings`.

    Args:
        output: folder of the model; the prepared data and the training state go to its sub-folder `training`.
        name: of the model.
        path, column: a file of SMILES, and its column in a table; or a folder that was prepared.
        limit: at most so many molecules, drawn at random; 0 for all.
        words: the most words, at least 1: the most frequent ones are learnt, molecules with others are left out.
        merges: pieces of several words, at least 0.
        width, depth, heads: of the transformer; heads divide the width into even parts.
        batch: molecules a step, at least 1.
        training: see `TrainingSettings`.
        card: free text for the model card: data, licence, limits.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    hint: ClassVar[str] = "See docs/discrete.md for the fields of a molecule model."

    output: str
    name: str
    path: str
    column: str = ""
    limit: int = 0
    words: int = 800
    merges: int = 400
    width: int = 128
    depth: int = 6
    heads: int = 4
    batch: int = 512
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.words, self.width, self.depth, self.heads, self.batch) < 1 or min(self.limit, self.merges) < 0:
            raise ValueError("words, width, depth, heads and batch must be at least 1, limit and merges at least 0")
        if self.width % (2 * self.heads):
            raise ValueError(f"heads {self.heads}: do not divide width {self.width} into even parts")

    @property
    def architecture(self) -> dict[str, int]:
        """What `build` makes the network of."""
        return {"width": self.width, "depth": self.depth, "heads": self.heads}


@dataclass(frozen=True, eq=False)
class StringTable:
    """Molecules one after the other.

    Args:
        tokens: pieces, int16 (all,).
        ends: where each molecule ends, int64 (molecules,).
        atoms: heavy atoms of each, int16 (molecules,).
        pieces: the vocabulary.
    """

    tokens: np.ndarray
    ends: np.ndarray
    atoms: np.ndarray
    pieces: Pieces

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of(cls, molecules: Sequence[tuple[list[str], int]], words: int = 800, merges: int = 0) -> "StringTable":
        """From the words and the heavy atoms of each; see `StringConfiguration`.

        Raises:
            InputError: where none is left.
        """
        count = Counter(word for row, _ in molecules for word in row)
        common = tuple(sorted(word for word, _ in count.most_common(words)))
        bare = Pieces(common)
        chosen = [(bare.numbers(row), atoms) for row, atoms in molecules if row and all(w in bare.index for w in row)]
        rows = [row for row, _ in chosen]
        pieces = Pieces.learn(rows[:: 1 + len(rows) // LEARNT_FROM], common, merges) if rows else bare
        merged = pieces.merge(rows) if rows else []
        kept = [(row, atoms) for row, (_, atoms) in zip(merged, chosen) if len(row) <= LONGEST]
        if not kept:
            raise InputError("no molecule that can be learnt", "Give a file of molecules.")
        return cls(
            np.concatenate([row for row, _ in kept]).astype(np.int16),
            np.cumsum([len(row) for row, _ in kept]),
            np.array([atoms for _, atoms in kept], np.int16),
            pieces,
        )

    @property
    def lengths(self) -> np.ndarray:
        """Pieces of each molecule."""
        return np.diff(self.ends, prepend=0)

    def sizes(self) -> list[list[float]]:
        """The share of molecules of each number of pieces (first) and heavy atoms (second), from 0 on."""
        counts = np.zeros((int(self.lengths.max()) + 1, int(self.atoms.max()) + 1))
        np.add.at(counts, (self.lengths, self.atoms), 1.0)
        return (counts / counts.sum()).round(9).tolist()

    def batch(self, chosen: np.ndarray) -> dict[str, Tensor]:
        """Molecules of these numbers, padded: `tokens` int64 and `mask` bool, (batch, longest); `atoms` int64 (batch,)."""
        lengths = self.lengths[chosen]
        mask = node_mask(torch.from_numpy(lengths), int(lengths.max()))
        place = (self.ends[chosen] - lengths)[:, None] + np.arange(mask.shape[1])
        tokens = torch.from_numpy(self.tokens[np.minimum(place, len(self.tokens) - 1)].astype(np.int64))
        return {"tokens": tokens * mask, "mask": mask, "atoms": torch.from_numpy(self.atoms[chosen].astype(np.int64))}

    def like(self, batch: int, step: int, seed: int) -> np.ndarray:
        """The numbers of the molecules of a step: drawn at random, `POOL` steps together, and sorted by length."""
        chance = np.random.default_rng(key(seed, step // POOL, world()[0], 3))
        drawn = chance.integers(0, len(self), POOL * batch)
        order = np.argsort(self.lengths[drawn] + chance.random(len(drawn)))
        return drawn[order.reshape(POOL, batch)[chance.permutation(POOL)[step % POOL]]]


@dataclass(frozen=True, eq=False)
class StringModel:
    """A model of strings, ready to be sampled.

    Args:
        denoiser: of the tensor `tokens` (batch, length), under the condition `atoms` (batch,); it knows the grammar.
        pieces: the vocabulary.
        sizes: the share of molecules of each number of pieces and of heavy atoms, (pieces, atoms), float64.
        card: what else is known of it.
    """

    denoiser: CategoricalDenoiser
    pieces: Pieces
    sizes: Tensor
    card: dict[str, Any]


def build(architecture: dict[str, int], frequencies: Sequence[float]) -> NetworkCategorical:
    """A denoiser with fresh weights, which knows the frequencies of the pieces."""
    tokens = len(frequencies)
    network = TokenNetwork(tokens, **architecture)
    return NetworkCategorical(network, {"tokens": Masked(tokens)}, {"tokens": frequencies})


def prepare(c: StringConfiguration, log: Callable[[str], None] = print) -> StringTable:
    """The molecules of a configuration; read from its folder where they were prepared before.

    Raises:
        InputError: where no molecule can be read.
    """
    import json

    for place in (Path(c.path), Path(c.output) / "training"):
        if (place / "strings.safetensors").is_file():
            tensors = load_tensors(place / "strings.safetensors")
            words = json.loads((place / "pieces.json").read_text(encoding="utf-8"))
            return StringTable(**{name: x.numpy() for name, x in tensors.items()}, pieces=Pieces.from_json(words))
    # RDKit is asked only here: a machine that trains on prepared data needs none.
    from ornstein.datasets.molecule_files import read_smiles
    from ornstein.domains.molecules.fragments import all_fragments

    rows = read_smiles(c.path, c.column or None)
    if c.limit and len(rows) > c.limit:
        rows = [rows[i] for i in np.sort(np.random.default_rng(0).permutation(len(rows))[: c.limit])]
    read, wrong = [], []
    for (row, _), found in zip(rows, all_fragments([smiles for _, smiles in rows])):
        if isinstance(found, str):
            wrong.append(f"row {row}: {found}")
        else:
            read.append(found)
    if not read:
        raise InputError(f"path {c.path}: no molecule can be read", wrong[0] if wrong else "It is empty.")
    for line in wrong[:20]:
        log(f"{c.path}: {line}; left out")
    table = StringTable.of(read, c.words, c.merges)
    log(f"{len(table)} molecules in {len(table.pieces)} pieces, {len(rows) - len(table)} left out")
    folder = Path(c.output) / "training"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "pieces.json", table.pieces.to_json())
    tensors = {name: torch.from_numpy(getattr(table, name)) for name in ("tokens", "ends", "atoms")}
    save_tensors(folder / "strings.safetensors", tensors)
    return table


def train_strings(
    settings: dict[str, Any],
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Path:
    """Trains a model of strings from the mapping of a configuration file; resumes where it stopped.

    Raises:
        UsageError: for what is not a configuration, by the name of the field.
    """
    c = StringConfiguration.parse(settings)
    table = prepare(c, log)
    torch.manual_seed(key(c.training.seed))
    denoiser = build(c.architecture, _frequencies(table))
    log(f"{len(table)} molecules, {sum(p.numel() for p in denoiser.parameters()):,} weights")

    def batch(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return table.batch(table.like(c.batch, step, c.training.seed))

    def loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        t = stratified(len(tensors["mask"]), generator).clamp_min(1e-3).to(tensors["mask"].device)
        x0, masks = {"tokens": tensors["tokens"]}, {"tokens": tensors["mask"]}
        return cross_entropy_loss(model, x0, masks, t, generator, atoms=tensors["atoms"])

    folder = Path(c.output) / "training"
    with explained():
        average = train(denoiser, batch, loss, c.training, folder, device=device, log=log, stop_after=stop_after)
    assert isinstance(average, NetworkCategorical)
    if world()[0] == 0:  # one process of several writes the model
        _save(c, average, table)
    return Path(c.output)


def save_unfinished(c: StringConfiguration) -> Path:
    """Writes the model folder of a training that still goes on, from the moving average at its last checkpoint.

    Raises:
        ModelError: where there is none yet, or it is of another architecture.
    """
    table = prepare(c)
    denoiser = build(c.architecture, _frequencies(table))
    load_average(denoiser, Path(c.output) / "training")
    _save(c, denoiser, table)
    return Path(c.output)


def _frequencies(table: StringTable) -> list[float]:
    """The share of each piece, above 0 also where a piece went into others everywhere."""
    counts = np.bincount(table.tokens, minlength=len(table.pieces)) + 1
    return [round(share, 9) for share in (counts / counts.sum()).tolist()]


def _save(c: StringConfiguration, denoiser: NetworkCategorical, table: StringTable) -> None:
    card = {
        "name": c.name,
        "domain": "molecule",
        "representation": "strings",
        "architecture": c.architecture,
        "pieces": table.pieces.to_json(),
        "frequencies": _frequencies(table),
        "sizes": table.sizes(),
        "configuration": c.recorded,
        **c.card,
    }
    save_model(c.output, denoiser.network.state_dict(), card, dtype=torch.bfloat16)


def load_strings(folder: Path | str, device: str | torch.device = "cpu") -> StringModel:
    """The model of a folder, ready to use.

    Raises:
        ModelError: where the folder holds no model of strings, or a damaged one.
    """
    tensors, card = load_model(folder)
    try:
        pieces = Pieces.from_json(card["pieces"])
        denoiser = build(card["architecture"], card["frequencies"])
        denoiser.network.load_state_dict(tensors)
        sizes = torch.tensor(card["sizes"], dtype=torch.float64)
        assert sizes.ndim == 2 and len(card["frequencies"]) == len(pieces), "sizes, pieces and frequencies differ"
    except (LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{folder}: not a model of strings", "Its card's representation is strings.") from error
    return StringModel(GrammaticalDenoiser(denoiser.to(device).eval(), Grammar(pieces)), pieces, sizes, card)

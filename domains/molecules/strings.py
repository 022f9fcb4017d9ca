"""Molecules as SMILES: masked diffusion over their tokens, trained from a configuration, loaded and sampled."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ornstein.core.checkpoints import load_model, load_tensors, save_model, save_tensors, write_json
from ornstein.core.configuration import Configuration
from ornstein.core.discrete.denoisers import NetworkCategorical
from ornstein.core.discrete.draws import draw_sizes
from ornstein.core.discrete.objectives import cross_entropy_loss
from ornstein.core.discrete.paths import Masked
from ornstein.core.discrete.samplers import FirstHitting, Sampler, sample
from ornstein.core.errors import InputError, ModelError
from ornstein.core.networks.transformer import Transformer
from ornstein.core.noise import key
from ornstein.core.pairs import node_mask
from ornstein.core.training.loop import TrainingSettings, explained, train, world
from ornstein.core.training.objectives import stratified

TOKEN = re.compile(r"\[[^\]]+\]|Br|Cl|%\d\d|.")
RARE = 10
"""A token that occurs less often is not learnt; molecules that have it are left out."""
LONGEST = 64.0


class TokenNetwork(nn.Module):
    """A transformer on tokens, which know how far they are from both ends; it does not see the time.

    The best answer to a masked state does not depend on the time (Zheng et al. 2024, arXiv:2409.02908).

    Args:
        tokens: of the vocabulary, at least 1.
        width, depth, heads: of the transformer.
    """

    def __init__(self, tokens: int, width: int = 144, depth: int = 6, heads: int = 6) -> None:
        super().__init__()
        self.states = tokens + 1
        self.transformer = Transformer(
            0,
            self.states + 4,
            tokens,
            width,
            depth,
            heads,
            embedding=16,
            positions=True,
            longest=LONGEST,
            expansion=3.0,
        )

    def forward(self, x: Mapping[str, Tensor], t: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mask = masks["tokens"]
        place = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        left = mask.sum(1, keepdim=True) - 1 - place
        ends = torch.stack([place / LONGEST, left / LONGEST, place == 0, left == 0], dim=-1)
        seen = F.one_hot(x["tokens"], self.states).float()
        label = torch.zeros(len(mask), device=mask.device)
        return {"tokens": self.transformer(seen, label, features=ends.float(), mask=mask)}


@dataclass(frozen=True)
class StringConfiguration(Configuration):
    """Everything that makes a model of SMILES; `ornstein train` reads it from YAML, with `representation: strings`.

    Args:
        output: folder of the model; the prepared data and the training state go to its sub-folder `training`.
        name: of the model.
        path, column: a file of SMILES, and its column in a table; or a folder that was prepared.
        limit: at most so many molecules, drawn at random; 0 for all.
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
    width: int = 144
    depth: int = 6
    heads: int = 6
    batch: int = 512
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.batch) < 1 or self.limit < 0:
            raise ValueError("width, depth, heads and batch must be at least 1, limit at least 0")
        if self.width % (2 * self.heads):
            raise ValueError(f"heads {self.heads}: do not divide width {self.width} into even parts")

    @property
    def architecture(self) -> dict[str, int]:
        """What `build` makes the network of."""
        return {"width": self.width, "depth": self.depth, "heads": self.heads}


@dataclass(frozen=True, eq=False)
class StringTable:
    """Token strings one after the other: tokens uint8 (all,), where each string ends int64 (strings,), and the vocabulary."""

    tokens: np.ndarray
    ends: np.ndarray
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of(cls, smiles: Iterable[str]) -> "StringTable":
        """From SMILES; those with a rare token, or longer than the positions reach, are left out."""
        rows = [TOKEN.findall(one) for one in smiles]
        count = Counter(token for row in rows for token in row)
        least = RARE if len(rows) > 100 * RARE else 1
        vocabulary = tuple(sorted(token for token, n in count.items() if n >= least))
        number = {token: i for i, token in enumerate(vocabulary)}
        kept = [row for row in rows if 0 < len(row) <= LONGEST and all(token in number for token in row)]
        if not kept:
            raise InputError("no SMILES that can be learnt", "Give a file of molecules.")
        tokens = np.fromiter((number[token] for row in kept for token in row), np.uint8)
        return cls(tokens, np.cumsum([len(row) for row in kept]), vocabulary)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each string."""
        return np.diff(self.ends, prepend=0)

    def batch(self, chosen: np.ndarray) -> dict[str, Tensor]:
        """Strings of these numbers, padded: `tokens` int64 and `mask` bool, (batch, longest)."""
        lengths = self.lengths[chosen]
        mask = node_mask(torch.from_numpy(lengths), int(lengths.max()))
        place = (self.ends[chosen] - lengths)[:, None] + np.arange(mask.shape[1])
        tokens = torch.from_numpy(self.tokens[np.minimum(place, len(self.tokens) - 1)].astype(np.int64))
        return {"tokens": tokens * mask, "mask": mask}


@dataclass(frozen=True, eq=False)
class StringModel:
    """A model of SMILES, ready to be sampled.

    Args:
        denoiser: of the tensor `tokens` (batch, length).
        vocabulary: the tokens.
        lengths: the share of strings of each length, from 0 to the longest, float64.
        card: what else is known of it.
    """

    denoiser: NetworkCategorical
    vocabulary: tuple[str, ...]
    lengths: Tensor
    card: dict[str, Any]


def build(architecture: dict[str, int], frequencies: Sequence[float]) -> NetworkCategorical:
    """A denoiser with fresh weights, which knows the frequencies of the tokens."""
    tokens = len(frequencies)
    network = TokenNetwork(tokens, **architecture)
    return NetworkCategorical(network, {"tokens": Masked(tokens)}, {"tokens": frequencies})


def prepare(c: StringConfiguration, log: Callable[[str], None] = print) -> StringTable:
    """The strings of a configuration; read from its folder where they were prepared before.

    Raises:
        InputError: where no SMILES can be read.
    """
    import json

    for place in (Path(c.path), Path(c.output) / "training"):
        if (place / "strings.safetensors").is_file():
            tensors = load_tensors(place / "strings.safetensors")
            words = json.loads((place / "tokens.json").read_text(encoding="utf-8"))
            return StringTable(tensors["tokens"].numpy(), tensors["ends"].numpy(), tuple(words))
    # RDKit is asked only here: a machine that trains on prepared data needs none.
    from ornstein.datasets.molecule_files import read_smiles

    rows = [smiles for _, smiles in read_smiles(c.path, c.column or None)]
    if c.limit and len(rows) > c.limit:
        rows = [rows[i] for i in np.sort(np.random.default_rng(0).permutation(len(rows))[: c.limit])]
    table = StringTable.of(rows)
    log(f"{len(table)} strings of {len(table.vocabulary)} tokens, {len(rows) - len(table)} left out")
    folder = Path(c.output) / "training"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "tokens.json", list(table.vocabulary))
    tensors = {"tokens": torch.from_numpy(table.tokens), "ends": torch.from_numpy(table.ends)}
    save_tensors(folder / "strings.safetensors", tensors)
    return table


def train_strings(
    settings: dict[str, Any],
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Path:
    """Trains a model of SMILES from the mapping of a configuration file; resumes where it stopped.

    Raises:
        UsageError: for what is not a configuration, by the name of the field.
    """
    c = StringConfiguration.parse(settings)
    table = prepare(c, log)
    torch.manual_seed(key(c.training.seed))
    counts = np.bincount(table.tokens, minlength=len(table.vocabulary))
    frequencies = (counts / counts.sum()).tolist()
    denoiser = build(c.architecture, frequencies)
    log(f"{len(table)} strings, {sum(p.numel() for p in denoiser.parameters()):,} weights")

    def batch(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return table.batch(torch.randint(len(table), (c.batch,), generator=generator).numpy())

    def loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        t = stratified(len(tensors["mask"]), generator).clamp_min(1e-3).to(tensors["mask"].device)
        return cross_entropy_loss(model, {"tokens": tensors["tokens"]}, {"tokens": tensors["mask"]}, t, generator)

    folder = Path(c.output) / "training"
    with explained():
        average = train(denoiser, batch, loss, c.training, folder, device=device, log=log, stop_after=stop_after)
    assert isinstance(average, NetworkCategorical)
    if world()[0] == 0:  # one process of several writes the model
        lengths = np.bincount(table.lengths)
        card = {
            "name": c.name,
            "domain": "molecule",
            "representation": "strings",
            "architecture": c.architecture,
            "tokens": list(table.vocabulary),
            "frequencies": frequencies,
            "lengths": (lengths / lengths.sum()).tolist(),
            "configuration": c.recorded,
            **c.card,
        }
        save_model(c.output, average.network.state_dict(), card, dtype=torch.bfloat16)
    return Path(c.output)


def load_strings(folder: Path | str, device: str | torch.device = "cpu") -> StringModel:
    """The model of a folder, ready to use.

    Raises:
        ModelError: where the folder holds no model of SMILES, or a damaged one.
    """
    tensors, card = load_model(folder)
    try:
        denoiser = build(card["architecture"], card["frequencies"])
        denoiser.network.load_state_dict(tensors)
        lengths = torch.tensor(card["lengths"], dtype=torch.float64)
        vocabulary = tuple(map(str, card["tokens"]))
    except (LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{folder}: not a model of SMILES", "Its card's representation is strings.") from error
    return StringModel(denoiser.to(device).eval(), vocabulary, lengths, card)


@torch.no_grad()
def generate(
    model: StringModel,
    items: Sequence[int],
    *,
    steps: int = 100,
    sampler: Sampler = FirstHitting(),
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch: int = 250,
    temperature: float = 1.0,
) -> list[str]:
    """One string for each item, as it comes: whether it is a molecule, RDKit says.

    Args:
        model: see `StringModel`.
        items: numbers of the strings; a string depends on its number and the seed alone.
        steps: of samplers on a grid, and of `ConfidentUnmasking`.
        sampler: `FirstHitting` takes one call a token.
        device: where the model is.
        batch: strings at a time; those of like length go together.
        temperature: of the denoiser's law.
    """
    counts = draw_sizes(model.lengths, seed, items)
    made = [""] * len(items)
    for part in counts.argsort(descending=True, stable=True).split(batch):
        mask = node_mask(counts[part], int(counts[part].max())).to(device)
        x = sample(
            model.denoiser,
            {"tokens": mask},
            sampler,
            steps=steps,
            seed=seed,
            items=[items[i] for i in part.tolist()],
            temperature=temperature,
        )
        for i, row, n in zip(part.tolist(), x["tokens"].tolist(), counts[part].tolist(), strict=True):
            made[i] = "".join(model.vocabulary[token] for token in row[:n])
    return made

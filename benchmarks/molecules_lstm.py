"""The plain baseline of molecule generation: a recurrent network over SMILES, trained within a budget of seconds."""

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ornstein.core.checkpoints import load_tensors, save_tensors, write_json

TOKENS = re.compile(r"\[[^\]]+\]|Br|Cl|%\d\d|.")
PAD, START, STOP = 0, 1, 2
LAYERS, EMBEDDING = 3, 64


def tokens_of(smiles: str) -> list[str]:
    """Atoms, bonds, brackets as one, ring numbers."""
    return TOKENS.findall(smiles)


class SmilesLstm(nn.Module):
    """Three layers of LSTM and a linear layer: Segler et al. (2018), arXiv:1701.01329, in small.

    Args:
        words: the tokens that are known, but for padding, start and stop.
        hidden: width.
    """

    def __init__(self, words: Sequence[str], hidden: int) -> None:
        super().__init__()
        self.words, self.hidden = list(words), hidden
        self.embedding = nn.Embedding(len(words) + 3, EMBEDDING, padding_idx=PAD)
        self.recurrent = nn.LSTM(EMBEDDING, hidden, LAYERS, batch_first=True)
        self.head = nn.Linear(hidden, len(words) + 3)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        out, state = self.recurrent(self.embedding(x), state)
        return self.head(out), state

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, batch: int = 512, longest: int = 120) -> list[str]:
        """SMILES, valid or not."""
        device = self.head.weight.device
        generator = torch.Generator(device).manual_seed(seed)
        made: list[str] = []
        while len(made) < count:
            n = min(batch, count - len(made))
            x, state, alive = (
                torch.full((n, 1), START, device=device),
                None,
                torch.ones(n, dtype=torch.bool, device=device),
            )
            columns = []
            for _ in range(longest):
                logits, state = self(x, state)
                x = torch.multinomial(logits[:, -1].softmax(-1), 1, generator=generator)
                x = torch.where(alive[:, None], x, STOP)
                alive = alive & (x[:, 0] != STOP)
                columns.append(x)
                if not alive.any():
                    break
            for row in torch.cat(columns, 1).tolist():
                kept = row[: row.index(STOP)] if STOP in row else row
                made.append("".join(self.words[t - 3] for t in kept if t >= 3))
        return made


def width_for(parameters: int, words: int) -> int:
    """The width of a network of about this many parameters."""

    def count(h: int) -> int:
        first = 4 * h * (EMBEDDING + h + 2)
        return first + (LAYERS - 1) * 4 * h * (2 * h + 2) + (words + 3) * (EMBEDDING + h + 1)

    return min(range(32, 1025, 8), key=lambda h: abs(count(h) - parameters))


def train(
    smiles: Sequence[str],
    folder: Path,
    seconds: float,
    parameters: int = 1_100_000,
    batch: int = 256,
    rate: float = 2e-3,
    most_steps: int | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> SmilesLstm:
    """Trains within a budget, and goes on where an earlier call stopped: what was trained counts towards the budget.

    The rate falls with the share of the budget that is spent, as a cosine; the state is kept every 30 s. `most_steps` ends
    the training earlier.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({token for one in smiles for token in tokens_of(one)})
    place = {word: i + 3 for i, word in enumerate(words)}
    rows = [[START, *(place[t] for t in tokens_of(one)), STOP] for one in smiles]
    model = SmilesLstm(words, width_for(parameters, len(words))).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.0)
    spent, step = _resume(folder, model, optimiser, device)
    generator = torch.Generator().manual_seed(step)
    log(f"{sum(p.numel() for p in model.parameters())} parameters, {len(rows)} SMILES, {spent:.0f} of {seconds:.0f} s")
    start = last = time.monotonic()
    before = spent
    while spent < seconds and step != most_steps:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * min(spent / seconds, 1)))
        chosen = [rows[i] for i in torch.randint(len(rows), (batch,), generator=generator).tolist()]
        longest = max(map(len, chosen))
        x = torch.tensor([row + [PAD] * (longest - len(row)) for row in chosen], device=device)
        logits, _ = model(x[:, :-1])
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), x[:, 1:], ignore_index=PAD)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        spent = before + time.monotonic() - start
        if time.monotonic() - last > 30 or spent >= seconds or step == most_steps:
            last = time.monotonic()
            _keep(folder, model, optimiser, spent, step)
            log(f"step {step}, {spent:.0f} s: {loss.item():.4f} nats a token")
    return model.eval()


def load(folder: Path, device: str = "cpu") -> SmilesLstm:
    """The network that `train` kept."""
    card = json.loads((folder / "card.json").read_text())
    model = SmilesLstm(card["words"], card["hidden"])
    model.load_state_dict(load_tensors(folder / "model.safetensors"))
    return model.to(device).eval()


def _keep(folder: Path, model: SmilesLstm, optimiser: torch.optim.Optimizer, spent: float, step: int) -> None:
    state = optimiser.state_dict()["state"]
    save_tensors(folder / "optimiser.safetensors", {f"{i}.{k}": v for i, s in state.items() for k, v in s.items()})
    save_tensors(folder / "model.safetensors", model.state_dict())
    write_json(folder / "card.json", {"words": model.words, "hidden": model.hidden, "seconds": spent, "step": step})


def _resume(folder: Path, model: SmilesLstm, optimiser: torch.optim.Optimizer, device: str) -> tuple[float, int]:
    if not (folder / "card.json").is_file():
        return 0.0, 0
    card = json.loads((folder / "card.json").read_text())
    if card["words"] != model.words or card["hidden"] != model.hidden:
        raise SystemExit(f"{folder} holds a network of other tokens or width: choose another folder")
    model.load_state_dict(load_tensors(folder / "model.safetensors"))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_tensors(folder / "optimiser.safetensors").items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor if key == "step" else tensor.to(device)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return float(card["seconds"]), int(card["step"])

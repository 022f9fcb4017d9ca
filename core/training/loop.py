"""The training loop: mixed precision, clipping, a moving average of the weights, resumable to the bit."""

import contextlib
import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ornstein.core.checkpoints import load_tensors, save_tensors
from ornstein.core.errors import ModelError
from ornstein.core.noise import key
from ornstein.core.precision import autocast

Batch = Callable[[int, torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Args:
        steps: optimiser steps in all, at least 1.
        learning_rate: the plateau, above 0.
        warmup: steps of linear rise to it, at least 0.
        decay: last fraction of the steps, in [0, 1], over which it falls linearly to zero.
        weight_decay: AdamW's decoupled decay, at least 0.
        clip: largest gradient norm, above 0.
        average: half-life in steps of the moving average of the weights, above 0; shorter at the start.
        precision: "fp32", "bf16" or "fp16" (autocast; fp16 scales its loss, on a GPU).
        seed: of everything that is drawn, at least 0.
        save_every: steps between checkpoints, at least 1.
        log_every: steps between log lines, at least 1.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    steps: int = 10_000
    learning_rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.25
    weight_decay: float = 0.0
    clip: float = 1.0
    average: float = 300.0
    precision: str = "bf16"
    seed: int = 0
    save_every: int = 500
    log_every: int = 50

    def __post_init__(self) -> None:
        ranges = {
            "at least 1": (min(self.steps, self.save_every, self.log_every) >= 1, "steps, save_every, log_every"),
            "above 0": (min(self.learning_rate, self.clip, self.average) > 0, "learning_rate, clip, average"),
            "at least 0": (min(self.warmup, self.weight_decay, self.seed) >= 0, "warmup, weight_decay, seed"),
            "in [0, 1]": (0 <= self.decay <= 1, "decay"),
            "fp32, bf16 or fp16": (self.precision in ("fp32", "bf16", "fp16"), "precision"),
        }
        for wanted, (holds, names) in ranges.items():
            if not holds:
                found = ", ".join(f"{name} {getattr(self, name)!r}" for name in names.split(", "))
                raise ValueError(f"{found}: each must be {wanted}")

    def rate(self, step: int) -> float:
        """The learning rate of a step: rise, plateau, fall to zero (Hu et al., 2024, MiniCPM, arXiv:2404.06395)."""
        rise = (step + 1) / max(self.warmup, 1)
        fall = (self.steps - step) / max(self.decay * self.steps, 1e-9)
        return self.learning_rate * min(1.0, rise, fall)


def world() -> tuple[int, int]:
    """This process's rank and the number of processes, as `torchrun` sets them; (0, 1) outside it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def train(
    model: nn.Module,
    batch: Batch,
    loss: Callable[[nn.Module, dict[str, Tensor], torch.Generator], Tensor],
    settings: TrainingSettings,
    folder: Path | str,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> nn.Module:
    """Trains `model` in place and returns its moving average; goes on from `folder` where a checkpoint stands there.

    Everything that is drawn in a step depends on (seed, step, rank) only, so that an interrupted training ends, on one
    device, with the same weights, bit for bit. Under `torchrun` the gradients are averaged over all processes.

    Args:
        model: any module; trained in place.
        batch: batch(step, generator) gives the tensors of a step; it runs one step ahead in a thread of its own.
        loss: loss(model, tensors, generator) gives the loss of every item, (batch,).
        settings: see there.
        folder: for `training.safetensors`, rewritten every `save_every` steps.
        device: where to train; under `torchrun` every process takes the GPU of its local rank.
        log: receives one line every `log_every` steps.
        stop_after: stop (and save) after this many steps in all, as an interruption would.

    Raises:
        ModelError: where a checkpoint does not fit the model.
        FloatingPointError: where a loss was not finite; the weights of that step are never saved.
    """
    rank, processes = world()
    device = _own_device(torch.device(device), processes)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(device).train()
    average = _Average(model, settings.average)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16" and device.type == "cuda")
    start = _resume(folder / "training.safetensors", model, average, optimiser, scaler)
    opened = processes > 1 and not torch.distributed.is_initialized()
    wrapped = _distribute(model, device, processes)
    end = min(settings.steps, stop_after or settings.steps)
    total, seen, clock = torch.zeros((), device=device), 0, time.monotonic()
    for step, tensors in _ahead(batch, settings.seed, rank, start, end):
        tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(step)
        torch.manual_seed(key(settings.seed, step, rank, 2))  # what the model itself draws: dropout
        with autocast(device, settings.precision):
            value = loss(wrapped, tensors, _generator(settings.seed, step, rank, 1)).mean()
        scaler.scale(value).backward()
        scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad(set_to_none=True)
        average.update(step)
        total, seen = total + value.detach(), seen + 1
        if not scaler.is_enabled():  # which leaves out steps whose gradient is not finite
            total += 0 * norm
        save = (step + 1) % settings.save_every == 0 or step + 1 == end
        # A checkpoint is looked at before it replaces the last good one.
        if (step + 1) % settings.log_every == 0 or save:
            if processes > 1:
                torch.distributed.all_reduce(total)
            mean = float(total) / (seen * processes)
            if not math.isfinite(mean):
                raise FloatingPointError(f"the loss is {mean} at step {step + 1}; the last checkpoint is in {folder}")
            if rank == 0:
                speed = (time.monotonic() - clock) / seen
                left = speed * (settings.steps - step - 1) / 60
                log(f"step {step + 1} of {settings.steps}  loss {mean:.4f}  {speed:.2f} s a step  {left:.0f} min left")
            total, seen, clock = torch.zeros((), device=device), 0, time.monotonic()
        if rank == 0 and save:
            _save(folder / "training.safetensors", step + 1, model, average, optimiser, scaler)
    if processes > 1:
        torch.distributed.barrier()  # no process goes on, or away, before the last checkpoint is whole
    if opened:
        torch.distributed.destroy_process_group()
    return average.model.eval()


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Tells whoever trains a model from a file what to do where the loss is no number. Raises: ModelError in its place."""
    try:
        yield
    except FloatingPointError as error:
        raise ModelError(str(error), "Lower training.learning_rate; it goes on from the last checkpoint.") from error


def load_average(model: nn.Module, folder: Path | str) -> None:
    """Gives a model the moving average of the weights at the last checkpoint in a folder of `train`.

    Raises:
        ModelError: where there is none yet, or it is of another architecture.
    """
    tensors = load_tensors(Path(folder) / "training.safetensors")
    try:
        model.load_state_dict(_part(tensors, "average."))
    except RuntimeError as error:
        raise ModelError(f"{folder}: the checkpoint is of another architecture") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(key(*parts))


def _own_device(device: torch.device, processes: int) -> torch.device:
    """The GPU of this process under `torchrun`, else the device itself."""
    if processes == 1 or device.type != "cuda":
        return device
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device


def _ahead(batch: Batch, seed: int, rank: int, start: int, end: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """(step, tensors) with the next batch made in a thread meanwhile."""

    def make(step: int) -> dict[str, Tensor]:
        return batch(step, _generator(seed, step, rank, 0))

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make, start) if start < end else None
        for step in range(start, end):
            assert coming is not None
            tensors = coming.result()
            if step + 1 < end:
                coming = thread.submit(make, step + 1)
            yield step, tensors


def _distribute(model: nn.Module, device: torch.device, processes: int) -> nn.Module:
    if processes == 1:
        return model
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


class _Average:
    """An exponential moving average of the weights, whose half-life grows with the steps up to its setting."""

    def __init__(self, model: nn.Module, half_life: float) -> None:
        self.source, self.half_life = model, half_life
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        half_life = min(self.half_life, 0.1 * (step + 1))
        keep = 0.5 ** (1 / half_life)
        averages: list[Tensor] = list(self.model.parameters())
        sources: list[Tensor] = list(self.source.parameters())
        torch._foreach_lerp_(averages, sources, 1 - keep)
        for a, s in zip(self.model.buffers(), self.source.buffers(), strict=True):
            a.copy_(s)


def _save(
    path: Path,
    step: int,
    model: nn.Module,
    average: _Average,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    tensors = {"step": torch.tensor(step)}
    tensors |= {f"model.{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"average.{n}": t for n, t in average.model.state_dict().items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{n}": t for n, t in state.items()}
    tensors |= {f"scaler.{n}": torch.tensor(v, dtype=torch.float64) for n, v in scaler.state_dict().items()}
    save_tensors(path, tensors)


def _resume(
    path: Path, model: nn.Module, average: _Average, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> int:
    if not path.exists():
        return 0
    tensors = load_tensors(path)
    try:
        model.load_state_dict(_part(tensors, "model."))
        average.model.load_state_dict(_part(tensors, "average."))
        step = int(tensors["step"])
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{path}: the checkpoint is of another architecture", "Train in an empty folder.") from error
    states: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, tensor in _part(tensors, "optimiser.").items():
        i, field = name.split(".", 1)
        if field != "step":
            # The fused optimiser walks memory: its moments must lie in the order of the weights (channels last, say).
            tensor = torch.empty_like(parameters[int(i)], requires_grad=False).copy_(tensor)
        states.setdefault(int(i), {})[field] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
    scale = _part(tensors, "scaler.")
    if scale and scaler.is_enabled():
        kinds = {n: type(v) for n, v in scaler.state_dict().items()}
        scaler.load_state_dict({n: kind(scale[n].item()) for n, kind in kinds.items()})
    return step

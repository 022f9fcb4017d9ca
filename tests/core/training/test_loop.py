"""The training loop resumes to the bit, averages its weights, keeps its schedule, and never saves what is not finite."""

import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ornstein.core.checkpoints import load_tensors, save_tensors
from ornstein.core.errors import ModelError
from ornstein.core.networks.unet import UNet
from ornstein.core.training import loop
from ornstein.core.training.loop import TrainingSettings, train

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731


class Linear(nn.Module):
    """y = w x of one number, from w = 0."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


class Reconstructor(nn.Module):
    """A small U-Net with dropout, its zeros awake, that is to give back its input."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = UNet(2, channels=(width, width), blocks=1, attention=(1,), heads=2, embedding=16, dropout=0.2)
        nn.init.normal_(self.network.last.weight, std=0.1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x, torch.zeros(len(x)))


def pictures(step: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"x": torch.randn(2, 1, 8, 8, generator=generator)}


def numbers(step: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"x": torch.randn(8, 4, generator=generator)}


def distance(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """To the input with a little noise, which the loop's generator draws."""
    x = tensors["x"]
    target = x + 0.1 * torch.randn(x.shape, generator=generator)
    return (model(x) - target).square().flatten(1).mean(1)


def run(
    folder: Path, settings: TrainingSettings, model: nn.Module | None = None, **options
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights and their average after training."""
    model = model or Linear()
    batch = pictures if isinstance(model, Reconstructor) else numbers
    average = train(model, batch, distance, settings, folder, log=QUIET, **options)
    return model.state_dict(), average.state_dict()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_training_resumes_to_the_same_weights_bit_for_bit(tmp_path: Path, precision: str):
    """With channels-last weights, dropout, a moving average and a schedule: everything that a step depends on."""
    settings = TrainingSettings(steps=6, warmup=3, precision=precision, save_every=2)
    whole = run(tmp_path / "whole", settings, Reconstructor())
    for stop in (1, 4, None):
        parts = run(tmp_path / "parts", settings, Reconstructor(), stop_after=stop)
    for wanted, found in zip(whole, parts, strict=True):
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    first = Reconstructor().state_dict()
    assert not all(torch.equal(whole[0][name], first[name]) for name in first)
    states = [load_tensors(tmp_path / name / "training.safetensors") for name in ("whole", "parts")]
    assert states[0].keys() == states[1].keys() and all(torch.equal(states[0][n], states[1][n]) for n in states[0])


def test_another_seed_gives_other_weights(tmp_path: Path):
    first, _ = run(tmp_path / "0", TrainingSettings(steps=3, precision="fp32"))
    second, _ = run(tmp_path / "1", TrainingSettings(steps=3, precision="fp32", seed=1))
    assert not torch.equal(first["weight"], second["weight"])


def test_finished_training_is_left_as_it_is(tmp_path: Path):
    settings = TrainingSettings(steps=3, precision="fp32")
    once, twice = run(tmp_path, settings), run(tmp_path, settings)
    assert torch.equal(once[1]["weight"], twice[1]["weight"])


def test_training_minimises_the_loss(tmp_path: Path):
    settings = TrainingSettings(steps=300, learning_rate=0.05, warmup=10, precision="fp32", average=20)
    weights, average = run(tmp_path, settings)
    # The gradient's noise from targets of deviation 0.1, over steps of a rate that falls to zero.
    torch.testing.assert_close(average["weight"], torch.ones(4), rtol=0, atol=0.03)
    torch.testing.assert_close(weights["weight"], torch.ones(4), rtol=0, atol=0.03)


def test_moving_average_has_its_half_life_and_starts_short():
    model = Linear(1)
    average = loop._Average(model, half_life=5.0)
    with torch.no_grad():
        model.weight.fill_(1.0)
    for step in range(1000, 1005):  # well past its start, where the half-life is a tenth of the steps
        average.update(step)
    assert float(average.model.get_parameter("weight").detach()) == pytest.approx(0.5)
    fresh = loop._Average(Linear(1), half_life=5.0)
    fresh.source = model
    fresh.update(0)
    assert float(fresh.model.get_parameter("weight").detach()) == pytest.approx(1.0, abs=1e-3)


def test_learning_rate_rises_stays_and_falls_to_zero():
    settings = TrainingSettings(steps=100, learning_rate=2.0, warmup=10, decay=0.25)
    assert settings.rate(0) == pytest.approx(0.2) and settings.rate(4) == pytest.approx(1.0)
    assert {settings.rate(step) for step in range(9, 76)} == {2.0}
    assert settings.rate(87) == pytest.approx(2.0 * 13 / 25) and settings.rate(99) == pytest.approx(2.0 / 25)
    assert settings.rate(100) == 0.0


@given(steps=st.integers(1, 500), warmup=st.integers(0, 600), decay=st.floats(0, 1), learning_rate=st.floats(1e-6, 1.0))
def test_learning_rate_is_positive_and_never_above_its_plateau(steps, warmup, decay, learning_rate):
    settings = TrainingSettings(steps=steps, warmup=warmup, decay=decay, learning_rate=learning_rate)
    assert all(0 < settings.rate(step) <= learning_rate for step in range(steps))


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": 0.0}, {"average": 0.0}, {"decay": 1.5}, {"precision": "bf61"}, {"save_every": 0},
     {"seed": -1}, {"clip": 0.0}, {"warmup": -1}],
)  # fmt: skip
def test_settings_outside_their_range_are_refused_by_name(wrong: dict):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_gradients_are_clipped_to_the_largest_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    norms = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat(gradients).norm()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    run(tmp_path, TrainingSettings(steps=2, clip=1e-3, precision="fp32"))
    assert norms == [pytest.approx(1e-3, rel=1e-3)] * 2  # the gradient itself is near 1


def test_loss_that_is_no_number_stops_training_and_keeps_the_last_checkpoint(tmp_path: Path):
    def poisoned(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        x = numbers(step, generator)["x"]
        return {"x": x * math.nan if step == 5 else x}

    settings = TrainingSettings(steps=20, save_every=4, log_every=1000, precision="fp32")
    with pytest.raises(FloatingPointError, match="nan at step 8"):
        train(Linear(), poisoned, distance, settings, tmp_path, log=QUIET)
    saved = load_tensors(tmp_path / "training.safetensors")
    assert int(saved["step"]) == 4 and bool(saved["model.weight"].isfinite().all())


def test_gradient_that_is_no_number_stops_training(tmp_path: Path):
    def rough(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        return model(tensors["x"]).abs().sqrt().sum(1)  # finite at w = 0, its gradient is not

    with pytest.raises(FloatingPointError):
        train(Linear(), numbers, rough, TrainingSettings(steps=1, precision="fp32"), tmp_path, log=QUIET)
    assert not (tmp_path / "training.safetensors").exists()


@pytest.mark.parametrize("other", ["architecture", "content", "damage"])
def test_checkpoint_of_another_kind_is_a_model_error(tmp_path: Path, other: str):
    settings = TrainingSettings(steps=2, precision="fp32")
    path = tmp_path / "training.safetensors"
    if other == "architecture":
        run(tmp_path, settings, Linear(1))
    elif other == "content":
        save_tensors(path, {"model.weight": torch.zeros(4), "average.weight": torch.zeros(4)})
    else:
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"training\.safetensors") as caught:
        run(tmp_path, settings)
    assert caught.value.code == 6


def test_scale_of_fp16_gradients_survives_an_interruption(tmp_path: Path):
    model = Linear()
    average, optimiser = loop._Average(model, 10.0), torch.optim.AdamW(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    for _ in range(4):
        loss = model(torch.ones(4)).sub(1).square().sum()
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
    assert scaler.get_scale() == 2048.0
    loop._save(tmp_path / "s.safetensors", 4, model, average, optimiser, scaler)
    fresh = torch.amp.GradScaler("cpu", init_scale=1.0)
    assert loop._resume(tmp_path / "s.safetensors", model, average, optimiser, fresh) == 4
    assert fresh.state_dict() == scaler.state_dict()


def test_batches_are_made_in_order_and_one_ahead(tmp_path: Path):
    made, seen = [], []

    def batch(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        made.append(step)
        return {"x": torch.full((1, 4), float(step))}

    def loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        seen.append(int(tensors["x"][0, 0]))
        return model(tensors["x"]).sum(1)

    train(Linear(), batch, loss, TrainingSettings(steps=5, precision="fp32"), tmp_path, log=QUIET, stop_after=3)
    assert made == seen == [0, 1, 2]


def test_error_of_a_batch_reaches_the_caller(tmp_path: Path):
    def batch(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        train(Linear(), batch, distance, TrainingSettings(steps=2), tmp_path, log=QUIET)


def test_log_says_step_loss_and_time_left(tmp_path: Path):
    lines: list[str] = []
    settings = TrainingSettings(steps=5, log_every=2, precision="fp32")
    train(Linear(), numbers, distance, settings, tmp_path, log=lines.append)
    assert [line.split("  ")[0] for line in lines] == ["step 2 of 5", "step 4 of 5", "step 5 of 5"]
    assert all("loss" in line and "min left" in line for line in lines)


SCRIPT = """
import sys, torch
from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.networks.transformer import Transformer
from ornstein.core.paths import EDM
from ornstein.core.training.loop import TrainingSettings, train, world
from ornstein.core.training.objectives import denoising_loss

torch.manual_seed(0)
torch.set_num_threads(1)
network = Transformer(0, 2, 2, width=8, depth=1, heads=2, embedding=8)
torch.nn.init.normal_(network.last.weight)
model = NetworkDenoiser(network, EDM(), "edm", 1.0)
rank, processes = world()

def batch(step, generator):
    whole = torch.Generator().manual_seed(step)
    x0, z, t = (torch.randn(4, 3, 2, generator=whole), torch.randn(4, 3, 2, generator=whole), torch.rand(4, generator=whole))
    return {"x0": x0[rank::processes], "z": z[rank::processes], "t": t[rank::processes]}

def loss(model, tensors, generator):
    return denoising_loss(model, tensors["x0"], tensors["t"], tensors["z"], 1.0)

settings = TrainingSettings(steps=3, learning_rate=1e-2, warmup=0, decay=0.0, clip=0.1, precision="fp32")
train(model, batch, loss, settings, sys.argv[1])
print("done", rank, torch.distributed.is_initialized())
"""


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one_with_the_doubled_batch(tmp_path: Path):
    script = tmp_path / "training.py"
    script.write_text(SCRIPT, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    outputs = []
    for name, command in (("one", [sys.executable]), ("two", launcher)):
        done = subprocess.run(
            [*command, str(script), str(tmp_path / name)],
            capture_output=True, text=True, timeout=540, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert "done 0 False" in outputs[1] and "done 1 False" in outputs[1]  # the group that was opened is closed again
    one, two = (load_tensors(tmp_path / name / "training.safetensors") for name in ("one", "two"))
    for name in one:
        # float32: the mean of two halves is summed in another order; Adam divides by the gradient's size.
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)
    losses = [[line.split("loss ")[1].split()[0] for line in out.splitlines() if "loss" in line] for out in outputs]
    assert losses[0] == losses[1] and len(losses[0]) == 1  # logged once, and over all processes

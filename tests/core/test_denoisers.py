"""Every parametrisation of a network is the same denoiser, and a denoiser of one path serves every other."""

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.denoisers import Denoiser, NetworkDenoiser, Prediction
from ornstein.core.paths import (
    EDM,
    Coefficients,
    Cosine,
    Path,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
    expand,
)

WIDE = torch.float64
PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]
SIGMA_DATA = 0.7


def gaussian(path: Path) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor([0.3, -1.0, 0.5], dtype=WIDE), torch.tensor([1.0, 0.2, 0.5], dtype=WIDE), path)


def target(prediction: Prediction, c: Coefficients, x_t: Tensor, x0: Tensor) -> Tensor:
    """What a perfect network outputs, from the definitions: conditional means of z, dx/dt and so on, given E[x0 | x_t]."""
    a, s, da, ds = (expand(v, x_t) for v in (c.a, c.s, c.da, c.ds))
    z = (x_t - a * x0) / s
    sigma = s / a
    match prediction:
        case "data":
            return x0
        case "noise":
            return z
        case "score":
            return -z / s
        case "velocity":
            return a * z - s * x0
        case "flow":
            return da * x0 + ds * z
        case _:
            skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
            return (x0 - skip * x_t / a) / (sigma * SIGMA_DATA / torch.sqrt(sigma**2 + SIGMA_DATA**2))


class Oracle(nn.Module):
    """A network that undoes its input's scale, reads the time off its label, and answers exactly."""

    def __init__(self, prediction: Prediction, path: Path):
        super().__init__()
        self.prediction, self.path = prediction, path

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        t = self.path.time_of(-4 * label.to(WIDE))
        c = self.path.coefficients(t)
        x_t = x * expand(torch.sqrt((c.a * SIGMA_DATA) ** 2 + c.s**2), x)
        return target(self.prediction, c, x_t, gaussian(self.path)(x_t, t))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("prediction", get_args(Prediction))
@given(t=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
def test_exact_network_gives_the_posterior_mean(prediction: Prediction, path: Path, t: float, seed: int):
    x_t = path.mix(*torch.randn(2, 4, 3, dtype=WIDE, generator=torch.Generator().manual_seed(seed)), t)
    denoiser = NetworkDenoiser(Oracle(prediction, path), path, prediction, SIGMA_DATA)
    wanted = gaussian(path)(x_t, t)
    # The label passes through float32, which moves sigma by 1e-6; noise and score divide that by a.
    a, s = (float(v) for v in path.coefficients(t)[0:3:2])
    tolerance = 3e-5 * (1 + s / a)
    torch.testing.assert_close(denoiser(x_t, torch.tensor(t)), wanted, rtol=0, atol=tolerance)
    torch.testing.assert_close(denoiser(x_t, torch.full((4,), t)), wanted, rtol=0, atol=2 * tolerance)


class Opaque(Denoiser):
    """A denoiser that knows its own path alone."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.path)
        self.inner = inner

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        return self.inner(x_t, t, y, **conditions)


class Mixing(nn.Module):
    """A network that depends on everything that it is given."""

    def forward(self, x: Tensor, label: Tensor, y: Tensor | None = None, scale: float = 1.0) -> Tensor:
        return torch.tanh(x) * scale + expand(label, x) + (0 if y is None else y)


class Drifting(Path):
    """A path with an end point: rectified flow's with b = t / 2."""

    def coefficients(self, t: Tensor | float) -> Coefficients:
        t = torch.as_tensor(t, dtype=WIDE)
        one = torch.ones_like(t)
        return Coefficients(1 - t, t / 2, 0.1 + t, -one, one / 2, one)

    def time_of(self, log_snr: Tensor | float) -> Tensor:
        ratio = torch.exp(torch.as_tensor(log_snr, dtype=WIDE))
        return (1 - 0.1 * ratio) / (1 + ratio)


@pytest.mark.parametrize("path", [*PATHS, Drifting()], ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_answers_along_a_grid_are_those_of_single_calls(prediction: Prediction, path: Path):
    denoiser = NetworkDenoiser(Mixing(), path, prediction)
    times = torch.linspace(0.9, 0.1, 5, dtype=WIDE)
    x_t, y = torch.randn(2, 4, 3, dtype=WIDE)
    y = y if isinstance(path, Drifting) else None
    other = denoiser.on(Cosine(0.1, 1.3)) if y is None else denoiser.on(RectifiedFlow())
    for asked in (denoiser, other):
        for t, evaluate in zip(times, asked.along(times), strict=True):
            torch.testing.assert_close(evaluate(x_t, y, scale=0.5), asked(x_t, t, y, scale=0.5))


def test_rows_of_a_batch_have_their_own_times():
    denoiser = NetworkDenoiser(Mixing(), EDM())
    x_t, t = torch.randn(3, 2, dtype=WIDE), torch.tensor([0.2, 0.5, 0.9])
    rows = torch.cat([denoiser(x_t[i : i + 1], t[i]) for i in range(3)])
    torch.testing.assert_close(denoiser(x_t, t), rows)


@pytest.mark.parametrize("other", PATHS, ids=lambda path: "on" + type(path).__name__)
@pytest.mark.parametrize("own", PATHS, ids=lambda path: type(path).__name__)
@given(log_snr=st.floats(-3.5, 3.5), seed=st.integers(0, 1000))
def test_denoiser_of_one_path_is_exact_on_every_other(own: Path, other: Path, log_snr: float, seed: int):
    t = other.time_of(log_snr)
    x_t = other.mix(*torch.randn(2, 4, 3, dtype=WIDE, generator=torch.Generator().manual_seed(seed)), t)
    moved = Opaque(gaussian(own)).on(other)
    torch.testing.assert_close(moved(x_t, t), gaussian(other)(x_t, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(gaussian(own).on(other)(x_t, t), gaussian(other)(x_t, t))


@pytest.mark.parametrize("own", PATHS, ids=lambda path: type(path).__name__)
def test_other_path_may_begin_where_there_is_no_signal(own: Path):
    # Pure noise is taken for the own path's noisiest level: the answer is off the mean by about 1 / 80 of the spread.
    moved, x_t = Opaque(gaussian(own)).on(RectifiedFlow()), torch.randn(4, 3, dtype=WIDE)
    for t in (torch.tensor(1.0), torch.ones(4)):
        torch.testing.assert_close(moved(x_t, t), gaussian(own).mean.expand(4, 3), rtol=0, atol=0.05)
    torch.testing.assert_close(moved.along(torch.ones(1, dtype=WIDE))[0](x_t), moved(x_t, 1.0))


def test_own_path_is_the_denoiser_itself_and_a_second_move_forgets_the_first():
    denoiser = Opaque(gaussian(EDM()))
    assert denoiser.on(EDM()) is denoiser
    assert denoiser.on(Cosine()).on(EDM()) is denoiser


@pytest.mark.parametrize("prediction", ["data", "velocity", "flow", "edm"])
def test_answers_are_finite_where_there_is_no_signal(prediction: Prediction):
    denoiser = NetworkDenoiser(Mixing(), RectifiedFlow(), prediction)
    x_t = torch.randn(4, 3)
    assert bool(denoiser(x_t, torch.tensor(1.0)).isfinite().all())
    assert bool(denoiser.along(torch.ones(1, dtype=WIDE))[0](x_t).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_states_keep_their_dtype(dtype: torch.dtype):
    class Zero(nn.Module):
        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            return torch.zeros_like(x)

    denoiser = NetworkDenoiser(Zero(), EDM())
    x_t = torch.ones(2, 3, dtype=dtype)
    assert denoiser(x_t, 0.5).dtype == dtype == denoiser.along(torch.tensor([0.5], dtype=WIDE))[0](x_t).dtype


def test_network_is_replaced_without_touching_the_first():
    first = NetworkDenoiser(Mixing(), EDM())
    other = nn.Identity()
    second = first.replace_network(other)
    assert second.network is other and isinstance(first.network, Mixing) and second.path == first.path


def test_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="v-prediction"):
        NetworkDenoiser(Mixing(), EDM(), "v-prediction")  # type: ignore[arg-type]

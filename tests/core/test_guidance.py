"""Guided denoisers against scores and tilted Gaussians in closed form."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.denoisers import Denoiser
from ornstein.core.guidance import Conditioned, Guided, LossGuided
from ornstein.core.paths import EDM, PFGMPP, RectifiedFlow, VariancePreserving
from ornstein.core.solvers import sample

WIDE = torch.float64
PATHS = [EDM(), VariancePreserving(), RectifiedFlow()]
X = torch.randn(5, 2, dtype=WIDE, generator=torch.Generator().manual_seed(0))
TILT = torch.tensor([0.7, -0.4], dtype=WIDE)


def gaussian(mean=(0.5, -1.0), variances=(0.2, 1.0), path=None) -> GaussianDenoiser:
    return GaussianDenoiser(torch.tensor(mean, dtype=WIDE), torch.tensor(variances, dtype=WIDE), path)


def score(denoiser: GaussianDenoiser, x: Tensor, t: float) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(denoiser.log_density(x, t).sum(), x)[0]


class Labelled(Denoiser):
    """A Gaussian whose mean is the condition, and 0 without; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(EDM())
        self.asked: list[str] = []

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        self.asked.append("with" if "label" in conditions else "without")
        label = conditions.get("label", torch.zeros(len(x_t), 1, dtype=x_t.dtype))
        sigma = self.path.coefficients(t).s.to(x_t.dtype).reshape(-1, 1)
        return label + (x_t - label) / (1 + sigma**2)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guided_score_is_the_line_through_both_scores(path, scale: float):
    one, other, t = gaussian(path=path), gaussian((0.0, 0.3), (0.5, 2.0), path), 0.4
    c = path.coefficients(t)
    guided = Guided(one, other, scale)(X, torch.tensor(t, dtype=WIDE))
    wanted = scale * score(one, X, t) + (1 - scale) * score(other, X, t)
    torch.testing.assert_close((c.a * guided - X) / c.s**2, wanted)


def test_classifier_free_guidance_asks_one_model_with_and_without_the_condition():
    model = Labelled()
    guided, label = Guided(model, Conditioned(model, drop=("label",)), 3.0), torch.tensor([[1.0], [2.0]], dtype=WIDE)
    t = torch.tensor(0.5, dtype=WIDE)
    found = guided(X[:2, :1], t, label=label)
    assert model.asked == ["with", "without"]
    # The pull of the mean is 3 times the condition's.
    torch.testing.assert_close(found, model(X[:2, :1], t, label=3 * label))


def test_a_null_condition_stands_in_for_that_of_the_call():
    model = Labelled()
    null = Conditioned(model, label=torch.tensor([[-1.0]], dtype=WIDE))
    t, label = torch.tensor(0.5, dtype=WIDE), torch.tensor([[5.0]] * 2, dtype=WIDE)
    torch.testing.assert_close(
        null(X[:2, :1], t, label=label), model(X[:2, :1], t, label=-torch.ones(2, 1, dtype=WIDE))
    )


def test_outside_the_interval_the_reference_is_not_asked():
    model, path = Labelled(), EDM()
    guided = Guided(model, Conditioned(model, drop=("label",)), 3.0, interval=(0.3, 5.0))
    label = torch.ones(2, 1, dtype=WIDE)
    for sigma, asked in ((0.2, 1), (0.5, 2), (4.9, 2), (5.1, 1)):
        model.asked.clear()
        t = path.time_of(-math.log(sigma))
        found = guided(X[:2, :1], t, label=label)
        assert len(model.asked) == asked, sigma
        plain = Guided(model, Conditioned(model, drop=("label",)), 3.0 if asked == 2 else 1.0)
        torch.testing.assert_close(found, plain(X[:2, :1], t, label=label))
    # Items of different times, one inside and one outside.
    t = path.time_of(-torch.log(torch.tensor([0.2, 0.5], dtype=WIDE)))
    each = torch.cat([guided(X[i : i + 1, :1], t[i : i + 1], label=label[:1]) for i in range(2)])
    torch.testing.assert_close(guided(X[:2, :1], t, label=label), each)


def test_rescaling_gives_each_item_its_deviation_back():
    one, other, t = gaussian(), gaussian((0.0, 0.3), (0.5, 2.0)), torch.tensor(0.4, dtype=WIDE)
    x0 = one(X, t)
    whole = Guided(one, other, 4.0, rescale=1.0)(X, t)
    torch.testing.assert_close(whole.std(1), x0.std(1))
    free = Guided(one, other, 4.0)(X, t)
    torch.testing.assert_close(Guided(one, other, 4.0, rescale=0.7)(X, t), 0.7 * whole + 0.3 * free)
    torch.testing.assert_close(Guided(one, other, 4.0, rescale=0.7)(X[2:3], t), (0.7 * whole + 0.3 * free)[2:3])


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_a_linear_loss_makes_the_tilted_gaussian(path):
    # p(x) exp(TILT . x) is N(m + C TILT, C), whose denoiser has a closed form at every time.
    prior = gaussian(path=path)
    shifted = gaussian((0.5 + 0.2 * 0.7, -1.0 - 1.0 * 0.4), path=path)
    guided = LossGuided(prior, lambda x0: -(x0 @ TILT))
    for t in (0.1, 0.6, torch.linspace(0.1, 0.9, 5, dtype=WIDE)):
        t = torch.as_tensor(t, dtype=WIDE)
        torch.testing.assert_close(guided(X, t), shifted(X, t))


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_without_the_derivative_of_the_network_that_holds_for_round_data(path):
    prior, shifted = gaussian(variances=(0.25, 0.25), path=path), gaussian((0.5 + 0.175, -1.1), (0.25, 0.25), path)
    guided = LossGuided(prior, lambda x0: -(x0 @ TILT), through=False)
    torch.testing.assert_close(guided(X, torch.tensor(0.5, dtype=WIDE)), shifted(X, torch.tensor(0.5, dtype=WIDE)))


def test_guided_denoisers_go_with_a_solver():
    prior, shifted = gaussian(path=RectifiedFlow()), gaussian((0.5 + 0.28, -1.8), path=RectifiedFlow())
    guided = LossGuided(prior, lambda x0: -(x0 @ TILT), weight=2.0)
    settings = {"steps": 8, "shape": (3, 2), "dtype": WIDE, "grid": grids.Karras()}
    torch.testing.assert_close(sample(guided, **settings), sample(shifted, **settings))


def test_guidance_stays_finite_where_there_is_no_signal():
    prior, t = gaussian(path=RectifiedFlow()), torch.tensor(1.0, dtype=WIDE)
    for through in (True, False):
        assert bool(LossGuided(prior, lambda x0: -(x0 @ TILT), through=through)(X, t).isfinite().all())


def test_an_item_does_not_depend_on_the_others():
    guided, t = LossGuided(gaussian(), lambda x0: x0.square().sum(1)), torch.tensor(0.5, dtype=WIDE)
    torch.testing.assert_close(guided(X, t)[2:3], guided(X[2:3], t))


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="interval"):
        Guided(gaussian(), gaussian(), 2.0, interval=(5.0, 0.3))
    with pytest.raises(ValueError, match="rescale"):
        Guided(gaussian(), gaussian(), 2.0, rescale=1.5)
    model = Labelled()
    model.path = PFGMPP()
    with pytest.raises(ValueError, match="PFGMPP"):
        LossGuided(model, lambda x0: x0.sum(1))

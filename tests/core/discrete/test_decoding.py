"""Soft value decoding on toys whose law is known."""

import pytest
import torch

from ornstein.core.discrete.decoding import sample_valued
from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.paths import Marginal, Masked, Uniform
from ornstein.core.discrete.samplers import Ancestral, FirstHitting, sample

LAW = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
ODD, EVEN = (0, 1, 2), (2, 1, 0)


class Independent(CategoricalDenoiser):
    """Positions that are drawn independently of LAW: its exact denoiser, by Bayes' rule."""

    calls = 0

    def forward(self, x, t, masks, **conditions):
        self.calls += 1
        return {name: LAW.log() + path.evidence(x[name], t) for name, path in self.paths.items()}


def toy(path=None):
    return Independent({"a": path or Uniform(3), "b": path or Uniform(3)})


def full(rows, positions=2):
    return {name: torch.ones(rows, positions, dtype=torch.bool) for name in ("a", "b")}


def total(x, final=True):
    return sum(part.double().sum(1) for part in x.values())


@pytest.mark.parametrize("path", [Uniform(3), Marginal(probabilities=(0.5, 0.3, 0.2)), Masked(3)])
def test_one_candidate_is_plain_sampling(path):
    made = sample_valued(toy(path), full(6), total, steps=7, candidates=1, seed=3)
    plain = sample(toy(path), full(6), steps=7, seed=3)
    assert all(torch.equal(made[name], plain[name]) for name in plain)


def test_one_step_reaches_the_tilted_law():
    alpha, rows = 1.5, 3000
    masks = {name: mask[:, :1] for name, mask in full(rows).items()}
    made = sample_valued(toy(), masks, total, steps=1, candidates=100, alpha=alpha, seed=1)
    tilted = LAW * torch.exp(torch.arange(3) / alpha)
    share = torch.bincount(made["a"][:, 0], minlength=3).double() / rows
    # Three Monte-Carlo deviations of 3000 draws are .027; the bias of 100 candidates is below .01.
    torch.testing.assert_close(share, tilted / tilted.sum(), atol=0.035, rtol=0)


@pytest.mark.parametrize(("path", "sampler"), [(Uniform(3), Ancestral()), (Masked(3), FirstHitting())])
def test_value_is_raised_far_beyond_plain_sampling(path, sampler):
    plain = total(sample(toy(path), full(64), sampler, steps=5)).mean()
    made = total(sample_valued(toy(path), full(64), total, sampler, steps=5, candidates=12)).mean()
    assert made > plain + 3  # of at most 8; plain is 4 * .7 = 2.8


def test_items_do_not_depend_on_the_batch_and_calls_are_counted():
    denoiser, asked = toy(), []

    def value(x, final):
        asked.append((len(x["a"]), final))
        return total(x)

    whole = sample_valued(denoiser, full(5), value, steps=4, candidates=3, seed=2)
    assert denoiser.calls == 4  # one a step: what is known of the chosen candidate is used again
    assert asked == [(15, False)] * 3 + [(15, True)]
    part = sample_valued(toy(), full(2), total, steps=4, candidates=3, seed=2, items=(1, 4))
    assert all(torch.equal(part[name], whole[name][[1, 4]]) for name in whole)


def test_items_that_are_at_different_times_do_not_depend_on_the_batch():
    settings = {"candidates": 3, "span": (0.0, 0.6), "seed": 4}
    whole = sample_valued(toy(Masked(3)), full(6), total, FirstHitting(), **settings)
    part = sample_valued(toy(Masked(3)), full(2), total, FirstHitting(), items=(3, 5), **settings)
    assert all(torch.equal(part[name], whole[name][[3, 5]]) for name in whole)


def test_known_positions_are_held():
    known = {"a": torch.tensor([[0, -1]] * 40)}
    for path in (Uniform(3), Masked(3)):
        made = sample_valued(toy(path), full(40), total, steps=6, candidates=5, known=known)
        assert (made["a"][:, 0] == 0).all() and made["a"][
            :, 1
        ].double().mean() > 1.06  # plain: .7, and three deviations of 40 draws


def test_candidates_without_a_value_are_chosen_only_where_none_has_one():
    def only_twos(x, final):
        return torch.where(x["a"][:, 0] == 2, 1.0, float("nan"))

    made = sample_valued(toy(), full(50), only_twos, steps=3, candidates=30)
    assert (made["a"][:, 0] == 2).double().mean() > 0.95
    nothing = sample_valued(toy(), full(50), lambda x, final: torch.full((len(x["a"]),), float("nan")), candidates=3)
    assert nothing["a"].shape == (50, 2)


def test_span_says_when_candidates_are_drawn():
    asked = []

    def value(x, final):
        asked.append(final)
        return total(x)

    sample_valued(toy(), full(2), value, steps=10, candidates=2, span=(0.0, 0.35))
    assert asked == [False, False, True]


@pytest.mark.parametrize(("path", "sampler"), [(Uniform(3), Ancestral()), (Masked(3), FirstHitting())])
def test_result_that_is_noised_a_little_is_kept_for_the_most_part(path, sampler):
    data = sample(toy(path), full(300), sampler, steps=10)
    for time, low, high in ((0.1, 0.85, 1.0), (1.0, 0.3, 0.5)):  # of all noise nothing is left: .38 agree by chance
        again = sample_valued(
            toy(path), full(300), total, sampler, steps=10, candidates=1, begun=(data, time), seed=1
        )  # fmt: skip
        assert low < (again["a"] == data["a"]).double().mean() < high
    with pytest.raises(ValueError, match="time"):
        sample_valued(toy(path), full(300), total, sampler, begun=(data, 0.0))


def test_settings_out_of_range_are_refused():
    for wrong in ({"candidates": 0}, {"alpha": -1.0}, {"temperature": 0.0}):
        with pytest.raises(ValueError):
            sample_valued(toy(), full(1), total, **wrong)

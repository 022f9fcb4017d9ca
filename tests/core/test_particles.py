"""Resampling and selection: how often each particle goes on, problem by problem."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.particles import Particles, effective_size, resample, select, systematic, take

WIDE = torch.float64


def log_weights(problems: int, particles: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(problems, particles, dtype=WIDE, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000), st.floats(0.001, 0.999))
def test_systematic_resampling_takes_floor_or_ceiling_of_what_is_expected(seed: int, u: float):
    logits = log_weights(2, 7, seed)
    counts = torch.stack([torch.bincount(row, minlength=7) for row in systematic(logits, torch.full((2,), u))])
    expected = 7 * torch.softmax(logits, dim=1)
    assert bool(((counts >= expected.floor() - 1e-9) & (counts <= expected.ceil() + 1e-9)).all())
    assert counts.sum(1).tolist() == [7, 7]


def test_resampling_is_unbiased():
    logits, draws = log_weights(1, 5), 4000
    u = (torch.arange(draws, dtype=WIDE) + 0.5) / draws
    counts = torch.bincount(systematic(logits.expand(draws, 5), u).flatten(), minlength=5)
    # An even row of u integrates the counts, which are steps in u, to 1 / draws each.
    torch.testing.assert_close(counts.double() / draws, 5 * torch.softmax(logits[0], 0), atol=2e-3, rtol=0)


def test_selection_has_the_weights_as_probabilities():
    logits, draws = log_weights(1, 4), 4000
    u = (torch.arange(draws, dtype=WIDE) + 0.5) / draws
    chosen = select(logits.expand(draws, 4), u)
    torch.testing.assert_close(
        torch.bincount(chosen, minlength=4).double() / draws, torch.softmax(logits[0], 0), atol=1e-3, rtol=0
    )


def test_effective_size_counts_equal_weights():
    logits = torch.tensor(
        [[0.0, 0.0, 0.0, 0.0], [5.0, 5.0, -math.inf, math.nan], [7.0, -math.inf, -math.inf, -math.inf]]
    )
    assert effective_size(logits).tolist() == pytest.approx([4, 2, 1])


def test_a_particle_without_weight_never_goes_on_and_none_with_weight_leaves_all():
    logits = torch.tensor([[-math.inf, 0.0, math.nan, 0.0], [-math.inf] * 4])
    indices = systematic(logits, torch.tensor([0.999999, 0.5]))
    assert indices.tolist() == [[1, 1, 3, 3], [0, 1, 2, 3]]


def test_only_problems_of_small_effective_size_are_resampled_and_keep_their_evidence():
    logits = torch.stack([torch.zeros(4), torch.tensor([10.0, 0.0, 0.0, 0.0])]).double()
    x = torch.arange(8.0).reshape(2, 4)
    state, after = resample({"nodes": x, "edges": x[..., None].expand(2, 4, 3)}, logits, torch.tensor([0.5, 0.5]))
    assert state["nodes"].tolist() == [[0, 1, 2, 3], [4, 4, 4, 4]]
    assert state["edges"].shape == (2, 4, 3)
    assert torch.equal(after[0], logits[0])
    assert bool((after[1] == after[1, 0]).all())
    before, kept = (Particles(x, v).log_evidence for v in (logits, after))
    torch.testing.assert_close(before, kept)


def test_a_problem_does_not_depend_on_the_others():
    logits, u = log_weights(3, 6), torch.tensor([0.2, 0.7, 0.4])
    assert torch.equal(systematic(logits, u)[1:2], systematic(logits[1:2], u[1:2]))


def test_weighted_moments_are_those_of_the_weighted_values():
    x = torch.tensor([[[0.0, 1.0], [2.0, 3.0], [4.0, 11.0]]])
    cloud = Particles(x, torch.log(torch.tensor([[0.5, 0.25, 0.25]], dtype=WIDE)) + 7)
    torch.testing.assert_close(cloud.mean(), torch.tensor([[1.5, 4.0]]))
    offset = (x - cloud.mean()[:, None])[0].double()
    wanted = offset.mT @ torch.diag(torch.tensor([0.5, 0.25, 0.25], dtype=WIDE)) @ offset
    torch.testing.assert_close(cloud.covariance()[0], wanted)


def test_taking_one_particle_a_problem_drops_their_axis():
    x = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(take(x, torch.tensor([2, 0])), torch.stack([x[0, 2], x[1, 0]]))

"""Samplers on an enumerable toy: their laws are computed, not drawn, wherever they can be."""

import itertools
import math

import discrete_toy as toy
import pytest
import torch
from discrete_toy import Exact
from torch import Tensor

from ornstein.core.discrete.paths import Absorbing, CosineSquared, Linear, Marginal, Masked, Schedule, Uniform
from ornstein.core.discrete.samplers import (
    Ancestral,
    ConfidentUnmasking,
    FirstHitting,
    TauLeaping,
    laws,
    sample,
)

KINDS = [Masked, Absorbing, Uniform, Marginal]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
P = toy.table()


def distance(found: Tensor, wanted: Tensor) -> float:
    """Total variation."""
    return float((found - wanted).abs().sum() / 2)


def masks(batch: int) -> dict[str, Tensor]:
    return {name: mask.expand(batch, -1) for name, mask in toy.MASKS.items()}


def generator(denoiser: Exact, t: float) -> Tensor:
    """The rates of the reverse process between all states at t, (states, states), rows sum to 0."""
    all_states = toy.states(denoiser.paths)
    x = toy.joint(all_states)
    p0 = laws(denoiser.paths, denoiser(x, torch.full((len(all_states),), t, dtype=torch.float64), toy.MASKS), x)
    sizes, rows = [4, 4, 3], torch.arange(len(all_states))
    made = torch.zeros(len(all_states), len(all_states), dtype=torch.float64)
    for name, offset in (("a", 0), ("b", 2)):
        rates = denoiser.paths[name].reverse_rates(x[name], p0[name], t)
        for position in range(rates.shape[1]):
            stride = math.prod(sizes[offset + position + 1 :])
            for k in range(rates.shape[2]):
                target = rows + (k - all_states[:, offset + position]) * stride
                made.index_put_((rows, target), rates[:, position, k], accumulate=True)
    return made - torch.diag(made.sum(1))


def reverse_process(denoiser: Exact) -> Tensor:
    """The law of the data of the continuous-time reverse process on masked linear paths: its Kolmogorov equation, solved.

    The rates are those at t = 1 over t, so that in -log t the process is homogeneous and its law a matrix exponential.
    """
    rates = generator(denoiser, 0.5) * 0.5
    torch.testing.assert_close(generator(denoiser, 0.01) * 0.01, rates)
    law = torch.matrix_exp(rates * -math.log(1e-9))[-1]  # all is masked: the last state
    return toy.data_part(denoiser.paths, law)


@kinds
@pytest.mark.parametrize(
    "sampler",
    [Ancestral(), Ancestral(kernel="flow"), Ancestral(power=2.0), TauLeaping()],
    ids=["reversal", "flow", "short-last-steps", "tau-leaping"],
)
def test_grid_samplers_reach_the_law_of_the_data_with_order_one(kind, sampler):
    denoiser = Exact(toy.paths(kind, Linear()), P)
    errors = [distance(toy.sampled_law(denoiser, sampler, steps), P) for steps in (16, 32, 64)]
    assert errors[-1] < 0.04
    slope = math.log2(errors[0] / errors[2]) / 2
    assert slope == pytest.approx(1.0, abs=0.2)  # measured 0.96 to 1.12


@kinds
def test_one_step_draws_every_position_by_itself(kind):
    law = toy.sampled_law(Exact(toy.paths(kind, Linear()), P), Ancestral(), 1)
    cube = P.reshape(3, 3, 2)
    apart = torch.einsum("i,j,k->ijk", cube.sum((1, 2)), cube.sum((0, 2)), cube.sum((0, 1))).flatten()
    torch.testing.assert_close(law, apart)


@pytest.mark.parametrize("kind", [Uniform, Marginal], ids=lambda k: k.__name__)
def test_renewal_at_a_finite_rate_is_exact_in_many_steps_and_mends_errors(kind):
    denoiser = Exact(toy.paths(kind, CosineSquared()), P)
    errors = [distance(toy.sampled_law(denoiser, Ancestral(renewal=8.0), steps), P) for steps in (64, 256)]
    assert errors[1] < 0.4 * errors[0]
    # A start that is wrong: renewal forgets it, the flow with the fewest jumps the least.
    wrong = torch.zeros(18, dtype=torch.float64)
    wrong[17] = 1.0
    left = []
    for renewal in (0.0, 8.0):
        law = wrong
        for i in range(60, 100):
            law = law @ toy.transition(
                denoiser, Ancestral(kernel="flow", renewal=renewal), 1 - i / 100, 1 - (i + 1) / 100, 100
            )
        left.append(distance(law, P))
    assert left[1] < left[0]


def test_renewal_of_everything_is_named_approximate_because_it_is():
    denoiser = Exact(toy.paths(Marginal, CosineSquared()), P)
    errors = [distance(toy.sampled_law(denoiser, Ancestral(renewal=math.inf), steps), P) for steps in (64, 256)]
    assert errors[1] > 0.5 * errors[0]


@pytest.mark.parametrize("blur", [0.0, 0.3])
@pytest.mark.parametrize("schedule", [Linear(), CosineSquared()], ids=lambda s: type(s).__name__)
def test_first_hitting_is_the_continuous_time_reverse_process(blur: float, schedule: Schedule):
    """For a denoiser that errs too: its law over all orders is that of the Kolmogorov equation, and of its draws."""
    denoiser = Exact(toy.paths(Masked, schedule), P, blur)
    wanted = reverse_process(Exact(toy.paths(Masked, Linear()), P, blur))  # the schedule only changes the clock
    torch.testing.assert_close(hitting_law(denoiser), wanted, atol=1e-8, rtol=0)  # 3e-9 are masked at t = 1e-9
    found = toy.frequencies(sample(denoiser, masks(20000), FirstHitting(), seed=1))
    # A chi-square of 17 degrees of freedom is below 40.8 in 999 of 1000 draws.
    assert float(((found - wanted) ** 2 / wanted).sum() * 20000) < 40.8


def hitting_law(denoiser: Exact) -> Tensor:
    """The law of unmasking one position at a time, over all orders."""
    total = torch.zeros(18, dtype=torch.float64)
    data = toy.states(denoiser.paths, data=True)
    for order in itertools.permutations(range(3)):
        x = torch.tensor([[3, 3, 2]]).expand(18, -1).clone()
        law = torch.ones(18, dtype=torch.float64)
        for position in order:
            logits = denoiser(toy.joint(x), torch.full((18,), 0.5, dtype=torch.float64), toy.MASKS)
            name, place = ("a", position) if position < 2 else ("b", 0)
            law = law * logits[name][:, place].softmax(-1).gather(1, data[:, position : position + 1])[:, 0]
            x[:, position] = data[:, position]
        total += law / 6
    return total


def test_first_hitting_draws_the_times_of_the_reverse_process():
    """The first of n positions is unmasked at t with probability t^n of being earlier in [0, t], on the linear schedule."""
    denoiser, times = Exact(toy.paths(Masked, Linear()), P), []
    denoiser.register_forward_pre_hook(lambda _, inputs: times.append(inputs[1]))
    sample(denoiser, masks(4000), FirstHitting())
    first = times[0].sort().values ** 3
    uniform = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    assert float((first - uniform).abs().max()) < 1.95 / math.sqrt(4000)  # Kolmogorov's 0.1 % quantile
    assert all(bool((later < now).all()) for now, later in itertools.pairwise(times))


class Independent(Exact):
    """Uniform over the classes everywhere, for any number of positions; counts its calls."""

    def forward(self, x, t, masks, **conditions):
        self.calls += 1
        return {name: torch.zeros(*x[name].shape, path.classes) for name, path in self.paths.items()}


def test_first_hitting_takes_one_call_a_token_of_45():
    denoiser = Independent({"nodes": Masked(5), "edges": Masked(4)}, P)
    # A molecule of 9 atoms, and one of 4 in the same batch.
    sizes = {"nodes": torch.tensor([9, 4]), "edges": torch.tensor([36, 6])}
    places = {name: torch.arange(int(n.max())) < n[:, None] for name, n in sizes.items()}
    found = sample(denoiser, places, FirstHitting(), steps=1000)
    assert denoiser.calls == 45 == FirstHitting().evaluations(1000, 45)
    assert Ancestral().evaluations(1000, 45) >= 20 * denoiser.calls
    for name, path in denoiser.paths.items():
        assert int(found[name].max()) < path.classes and not bool(found[name][~places[name]].any())


@pytest.mark.parametrize("steps", [1, 2, 7, 45, 200])
def test_confident_unmasking_takes_the_asked_steps_and_at_most_one_a_token(steps: int):
    denoiser = Independent({"nodes": Masked(5), "edges": Masked(4)}, P)
    places = {"nodes": torch.ones(3, 9, dtype=torch.bool), "edges": torch.ones(3, 36, dtype=torch.bool)}
    counts = []
    found = sample(
        denoiser,
        places,
        ConfidentUnmasking(),
        steps=steps,
        callback=lambda p, _: counts.append(int((p.x["edges"] == 4).sum())),
    )
    assert denoiser.calls <= ConfidentUnmasking().evaluations(steps, 45)
    assert counts == sorted(counts, reverse=True) and counts[-1] == 0 and int(found["nodes"].max()) < 5


def test_confident_unmasking_is_named_approximate_because_it_is():
    found = toy.frequencies(
        sample(Exact(toy.paths(Masked, Linear()), P), masks(20000), ConfidentUnmasking(0.0), steps=3)
    )
    assert distance(found, P) > 0.05  # a hundred times the error of the count


@kinds
@pytest.mark.parametrize("sampler", [Ancestral(renewal=1.0), TauLeaping(), FirstHitting(), ConfidentUnmasking()])
def test_known_positions_are_held_and_the_rest_follows_from_them(kind, sampler):
    if kind is not Masked and isinstance(sampler, FirstHitting | ConfidentUnmasking):
        with pytest.raises(ValueError, match="masked"):
            sample(Exact(toy.paths(kind, Linear()), P), masks(2), sampler)
        return
    denoiser = Exact(toy.paths(kind, Linear()), P)
    known = {"a": torch.tensor([[2, -1]]).expand(2000, -1), "b": torch.tensor([[1]]).expand(2000, -1)}
    found = sample(denoiser, masks(2000), sampler, steps=40, known=known)
    assert bool((found["a"][:, 0] == 2).all()) and bool((found["b"] == 1).all())
    given = P.reshape(3, 3, 2)[2, :, 1] / P.reshape(3, 3, 2)[2, :, 1].sum()
    law = torch.bincount(found["a"][:, 1], minlength=3).double() / 2000
    if kind is Masked:
        assert distance(law, given) < 0.06  # four standard errors are 0.04; 40 steps of the grid add to it
    else:  # the denoiser takes the known for noise at first
        alone = P.reshape(3, 3, 2).sum((0, 2))
        assert distance(law, given) < 0.9 * distance(alone, given)


# First-hitting unmasks: it is refused on other paths, which the test above holds.
@pytest.mark.parametrize(
    "kind, sampler",
    [*((kind, Ancestral(renewal=1.0)) for kind in KINDS), (Masked, FirstHitting())],
    ids=[*(f"{kind.__name__}-ancestral" for kind in KINDS), "Masked-first-hitting"],
)
def test_an_item_is_the_same_in_every_batch_and_padding(kind, sampler):
    denoiser = Independent({"nodes": toy.paths(kind, Linear())["a"], "edges": toy.paths(kind, Linear())["b"]}, P)
    whole = {"nodes": torch.ones(4, 3, dtype=torch.bool), "edges": torch.ones(4, 3, dtype=torch.bool)}
    padded = {name: torch.nn.functional.pad(mask[2:], (0, 5)) for name, mask in whole.items()}
    first = sample(denoiser, whole, sampler, steps=6, seed=3)
    second = sample(denoiser, padded, sampler, steps=6, seed=3, items=[2, 3])
    for name in whole:
        assert torch.equal(first[name][2:], second[name][:, :3]) and not bool(second[name][:, 3:].any())


@pytest.mark.parametrize("sampler", [Ancestral(), FirstHitting(), ConfidentUnmasking()])
def test_a_run_goes_on_from_its_progress(sampler):
    denoiser, seen = Exact(toy.paths(Masked, Linear()), P), []
    whole = sample(denoiser, masks(50), sampler, steps=5, seed=2, callback=lambda p, _: seen.append(p))
    again = sample(denoiser, masks(50), sampler, steps=5, seed=2, progress=seen[1])
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_low_temperature_takes_the_likeliest():
    denoiser = Exact(toy.paths(Masked, Linear()), P)
    found = sample(denoiser, masks(200), FirstHitting(), temperature=0.02)
    likeliest = toy.frequencies(found).argmax()
    assert float(toy.frequencies(found)[likeliest]) > float(P.max()) + 0.2
    with pytest.raises(ValueError, match="temperature"):
        sample(denoiser, masks(2), temperature=0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ancestral(power=0.0),
        lambda: Ancestral(kernel="gillespie"),  # type: ignore[arg-type]
        lambda: Ancestral(renewal=-1.0),
        lambda: ConfidentUnmasking(-1.0),
        lambda: sample(Exact(toy.paths(Uniform, Linear()), P), masks(1), steps=0),
        lambda: FirstHitting().refuse({"a": Masked(2, Linear()), "b": Masked(2, CosineSquared())}),
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        wrong()

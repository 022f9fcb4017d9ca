"""Solver x path x grid x dtype x the items' own times x steps: no exception, no NaN, and no more memory than is said."""

import itertools
import random
import weakref

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ornstein.core import grids, paths
from ornstein.core.denoisers import Denoiser
from ornstein.core.paths import EDM, Path, RectifiedFlow, VariancePreserving
from ornstein.core.solvers import BDIA, Exponential, Heun, PredictorCorrector, Solver, sample

WIDE = torch.float64
PATHS: list[Path] = [
    paths.VariancePreserving(),
    paths.Cosine(),
    paths.VarianceExploding(),
    paths.EDM(),
    paths.RectifiedFlow(),
    paths.SquareRoot(),
    paths.Shifted(paths.RectifiedFlow(), 3.0),
    paths.OUVE(),
    paths.MeanReverting(),
    paths.BBED(),
    paths.BrownianBridge(),
    paths.TrigonometricBridge(),
    paths.SchroedingerBridgeVE(),
    paths.SchroedingerBridgeVP(),
    paths.ResShift(),
    paths.RDDM(),
    paths.Resfusion(),
    paths.PFGMPP(),
]
SOLVERS: list[Solver] = [
    Exponential(1),
    Exponential(3),
    Exponential(3, "noise"),
    Exponential(2, weights="dpm"),
    Exponential(3, "noise", "power"),
    Exponential(4, weights="b2", corrector=True),
    Exponential(2, "noise", "b1", corrector=True),
    Exponential(4, "noise", "adams"),
    Exponential(2, "noise", "dpm", multistep=False),
    Exponential(3, multistep=False),
    Exponential(2, stochasticity=1.0),
    Exponential(2, "noise", stochasticity=0.5),
    Exponential(1, eta=1.0),
    Exponential(1, renoise=True),
    Heun(),
    Heun(churn=10.0),
    PredictorCorrector(),
    PredictorCorrector(0.16, 2, "reverse-diffusion", "norm"),
    BDIA(),
]
GRIDS = [grids.Uniform, grids.Quadratic, grids.Cosine, grids.LogSNR, grids.Karras, "explicit"]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.bfloat16]
STEPS = [1, 2, 5, 50]
Case = tuple[Solver, object, torch.dtype, bool, int]


class Wiener(Denoiser):
    """The posterior mean of N(0, 1), by formulas that any dtype has."""

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(t)
        gain = (c.a / (c.a**2 + c.s**2).clamp(min=1e-30)).to(x_t)
        shift = c.b.to(x_t)
        if t.ndim:
            gain, shift = gain[:, None], shift[:, None]
        return gain * (x_t if y is None else x_t - shift * y)


def make(kind: object, steps: int, **ends: float):
    if kind != "explicit":
        return kind(**ends)  # type: ignore[operator]
    first, last = ends.get("start", 1.0), ends.get("end", 0.0)
    return grids.Explicit(tuple(last + (first - last) * ((steps - k) / steps) ** 1.5 for k in range(steps + 1)))


def check(path: Path, solver: Solver, kind: object, dtype: torch.dtype, own_times: bool, steps: int) -> None:
    denoiser, size = Wiener(path), (2, 3)
    y = torch.ones(size, dtype=dtype) if path.drifts else None
    # Items that differ in whether they start (end) without signal (noise) are refused, and so start and end within.
    ends = [{"start": 0.9, "end": 0.1}, {"start": 0.8, "end": 0.05}]
    grid = [make(kind, steps, **pair) for pair in ends] if own_times else make(kind, steps)
    options: dict = {"solver": solver, "steps": steps, "grid": grid, "dtype": dtype, "shape": size, "y": y}
    if solver.stochastic and not path.gaussian:
        with pytest.raises(ValueError, match="does not allow"):
            sample(denoiser, **options)
        return
    end = sample(denoiser, **options)
    case = (path, solver, kind, dtype, own_times, steps)
    assert end.dtype == dtype and end.shape == size and bool(end.isfinite().all()), case
    assert torch.equal(sample(denoiser, **options), end), case  # the same object again
    if dtype == WIDE and steps <= 5:
        one = sample(denoiser, **{**options, "shape": (1, 3), "y": None if y is None else y[:1],
                                  "grid": grid[:1] if own_times else grid})  # fmt: skip
        torch.testing.assert_close(one, end[:1], rtol=1e-9, atol=1e-9)


def pairwise_cases() -> dict[Path, list[Case]]:
    """One case for each path and solver, chosen so that nearly every pair of two other values is met as well."""
    chance, met, cases = random.Random(0), set(), {}
    for path in PATHS:
        cases[path] = []
        for solver in SOLVERS:
            candidates = [
                (solver, chance.choice(GRIDS), chance.choice(DTYPES), chance.random() < 0.5, chance.choice(STEPS))
                for _ in range(30)
            ]
            pairs = lambda case: set(itertools.combinations(enumerate((*case, path)), 2))  # noqa: B023, E731
            best = max(candidates, key=lambda case: len(pairs(case) - met))
            met |= pairs(best)
            cases[path].append(best)
    everything = [SOLVERS, GRIDS, DTYPES, [False, True], STEPS, PATHS]
    for (i, first), (j, second) in itertools.combinations(enumerate(everything), 2):
        missed = [pair for pair in itertools.product(first, second) if ((i, pair[0]), (j, pair[1])) not in met]
        assert len(missed) <= len(first) * len(second) / 20, missed
    return cases


CASES = pairwise_cases()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_every_pair_of_choices_gives_finite_samples(path: Path):
    for case in CASES[path]:
        check(path, *case)


@pytest.mark.slow
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_all_combinations_of_choices_give_finite_samples(path: Path, dtype: torch.dtype, steps: int):
    for solver, kind, own_times in itertools.product(SOLVERS, GRIDS, (False, True)):
        check(path, solver, kind, dtype, own_times, steps)


@pytest.mark.parametrize("solver", SOLVERS, ids=range(len(SOLVERS)))
def test_items_with_their_own_times_are_as_if_alone(solver: Solver):
    for path in (VariancePreserving(), EDM(), paths.OUVE()):
        starts = (0.9, 0.7, 0.5)
        each: list = [grids.LogSNR(start=start, end=0.1) for start in starts]
        x = torch.randn(3, 4, dtype=WIDE, generator=torch.Generator().manual_seed(0))
        y = x.flip(0) if path.drifts else None
        together = sample(Wiener(path), solver=solver, steps=6, grid=each, x_start=x, y=y)
        for i, grid in enumerate(each):
            own = None if y is None else y[i : i + 1]
            alone = sample(Wiener(path), solver=solver, steps=6, grid=grid, x_start=x[i : i + 1], y=own, items=[i])
            torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-10)


def test_items_whose_times_ask_for_unlike_steps_are_refused():
    each = [grids.Uniform(start=1.0, end=0.1), grids.Uniform(start=0.5, end=0.1)]
    with pytest.raises(ValueError, match="different kinds"):
        sample(Wiener(RectifiedFlow()), solver=Exponential(1, stochasticity=1.0), steps=3, grid=each, shape=(2, 3))


class Counter(TorchDispatchMode):
    """The most tensors of one size that live at once, each memory counted once."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.alive, self.most = size, [], 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        if isinstance(result, Tensor) and result.numel() == self.size:
            self.alive = [ref for ref in self.alive if ref() is not None] + [weakref.ref(result)]
            self.most = max(self.most, len({ref().data_ptr() for ref in self.alive if ref() is not None}))
        return result


@pytest.mark.parametrize(
    ("solver", "history"),
    [
        (Exponential(1), 1),
        (Exponential(2), 2),
        (Exponential(3), 3),
        (Exponential(1, "noise"), 1),
        (Exponential(3, "noise"), 3),
        (Exponential(3, "noise", "dpm"), 3),
        (Exponential(4, "noise", "adams"), 4),
        (Exponential(3, corrector=True), 5),  # one value more, and the state that it corrects from
        (Exponential(3, "noise", multistep=False), 4),  # and the state that the stages start from
        (Exponential(3, stochasticity=1.0), 3),
        (BDIA(), 2),  # the value, and the state before
    ],
)
def test_a_run_holds_two_states_beyond_its_history(solver: Solver, history: int):
    class Halved(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
            return x_t / 2

    x = torch.randn(1, 4096)
    noise = lambda step, shape, dtype, device: torch.zeros(1).expand(shape)  # noqa: E731
    with Counter(x.numel()) as counter:
        sample(Halved(EDM()), solver=solver, steps=12, x_start=x, grid=grids.Karras(start=0.9, end=0.1), noise=noise)
    # The start is the caller's and not counted; the newest value counts as history.
    assert counter.most <= history + 2

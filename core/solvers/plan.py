"""The coefficients of an exponential integrator's run, all of them, in float64, before it begins."""

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ornstein.core.paths import Path
from ornstein.core.solvers.weights import Array, angle_weights, interpolation_weights, log_moments, power_moments

if TYPE_CHECKING:
    from ornstein.core.solvers.exponential import Exponential

LOOKS = {2: (1 / 2,), 3: (1 / 3, 2 / 3)}  # where a single step of an order looks ahead, as fractions of h


class Corrector(NamedTuple):
    """The state again, x * start + sum_j weights_j * value_j + y * y, once its own value is known (the newest)."""

    x: float
    weights: tuple[float, ...]
    y: float


class Step(NamedTuple):
    """One evaluation and the state that follows, x * start + sum_j weights_j * value_j + y * y + z * noise.

    The values are the newest first, in the terms of the solver's prediction; a `direct` step has x0_hat itself for its
    only value. The start is the state that was evaluated, or if `held` the one that the last step started from: so the
    stages of a single step follow each other, of which the last `ends` it.

    Args:
        z: None for a step that adds no noise.
        noise: the weights of the state, x0_hat and y in z_hat, where the noise is what is predicted.
        corrector: improves the state that this step led to.
        keep: which of the values the next step needs, as a slice.
    """

    x: float
    weights: tuple[float, ...]
    y: float
    z: float | None
    direct: bool
    held: bool
    ends: bool
    noise: tuple[float, float, float] | None
    corrector: Corrector | None
    keep: slice


class Plan(NamedTuple):
    """The steps, the times (n,) where each evaluates, the number of each interval's first step, whether y has a weight."""

    steps: list[Step]
    times: Tensor
    begins: list[int]
    drifts: bool


class _Row(NamedTuple):
    """A step from one moment to another, by the values at `nodes` (the newest first), as indices into the moments."""

    base: int
    end: int
    nodes: tuple[int, ...]
    direct: bool = False
    held: bool = False
    ends: bool = True
    forget: int = 0


def make_plan(solver: "Exponential", path: Path, times: Tensor) -> Plan:
    """The plan of `solver` over the times (n + 1,)."""
    c = path.coefficients(times)
    singular = np.asarray((c.s[:-1] == 0) | (c.s[1:] == 0) | (c.a[:-1] == 0) | (c.a[1:] == 0)) | solver.renoise
    if solver.multistep:
        moments, rows = times, _multistep_rows(solver, singular, first=int(c.s[0] > 0))
    else:
        moments, rows = _single_step_rows(solver, path, times, singular)
    coefficients = _Coefficients(solver, path, moments)
    steps: list[Step | None] = [None] * len(rows)
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for i, row in enumerate(rows):
        # Steps that reach back to a = 0 form a group of their own: they interpolate in a / s.
        key = (len(row.nodes), row.direct, bool((coefficients.a[list(row.nodes)] == 0).any()))
        groups.setdefault(key, []).append(i)
    for (n, direct, infinite), members in groups.items():
        made = coefficients.direct if direct else coefficients.steps
        for i, fields in zip(members, made([rows[i] for i in members], n, infinite), strict=True):
            x, weights, y, z, noise, corrector = fields
            row, last = rows[i], i + 1 == len(rows)
            ahead = 0 if last else len(rows[i + 1].nodes) - 1
            corrector = None if last else corrector
            keep = slice(row.forget, row.forget + (ahead if corrector is None else max(ahead, n)))
            steps[i] = Step(x, weights, y, z or None, direct, row.held, row.ends, noise, corrector, keep)
    begins = [i for i, row in enumerate(rows) if not row.held]
    drifts = bool((coefficients.b != 0).any())
    return Plan([s for s in steps if s is not None], moments[[row.nodes[0] for row in rows]], begins, drifts)


def _multistep_rows(solver: "Exponential", singular: NDArray[np.bool_], first: int) -> list[_Row]:
    """One row an interval; `first` is 0 if the first moment has no log-SNR, so that its value is never interpolated."""
    rows = []
    for i in range(len(singular)):
        known = 1 if singular[i] else min(i + first, solver.order)
        rows.append(_Row(i, i + 1, tuple(range(i, i - known, -1)), direct=bool(singular[i])))
    if solver.weights == "adams" and solver.order > 1 and not singular[0]:
        # PNDM's start, pseudo improved Euler: a look at the end of the first step, then the step, by the mean of both.
        rows[:1] = [_Row(0, 1, (0,), ends=False), _Row(0, 1, (1, 0), held=True, forget=1)]
    return rows


def _single_step_rows(
    solver: "Exponential", path: Path, times: Tensor, singular: NDArray[np.bool_]
) -> tuple[Tensor, list[_Row]]:
    """Rows that look ahead within each interval, at fractions of its log-SNR; and all moments, with those between."""
    log_snr, order = path.log_snr(times), solver.order
    fractions = LOOKS.get(order, ())
    moments, rows = [times[:1]], []
    for i, (low, high) in enumerate(pairwise(log_snr.tolist())):
        f = sum(len(part) for part in moments) - 1
        if singular[i] or order == 1:
            rows.append(_Row(f, f + 1, (f,), direct=bool(singular[i])))
        else:
            between = torch.tensor([low + r * (high - low) for r in fractions], dtype=torch.float64)
            moments.append(path.time_of(between))
            published = order == 3 and solver.weights == "dpm"
            for k in range(order):
                nodes = tuple(range(f + k, f - 1, -1)) if k < 2 or not published else (f + 2, f)
                rows.append(
                    _Row(f, f + k + 1, nodes, held=k > 0, ends=k == order - 1, forget=int(published and k == 1))
                )
        moments.append(times[i + 1 : i + 2])
    return torch.cat(moments), rows


Fields = tuple[float, tuple[float, ...], float, float, tuple[float, float, float] | None, Corrector | None]


class _Coefficients:
    """a, b, s and the log-SNR at all moments, and the steps between them."""

    def __init__(self, solver: "Exponential", path: Path, moments: Tensor) -> None:
        c = path.coefficients(moments)
        self.solver, self.path, self.moments = solver, path, moments
        self.a, self.b, self.s = c.a.numpy(), c.b.numpy(), c.s.numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            self.log_snr = np.asarray(path.log_snr(moments))

    def direct(self, rows: list[_Row], n: int, infinite: bool) -> list[Fields]:
        """Steps of x0_hat alone, where the log-SNR at an end is infinite, and those of the fully stochastic chain."""
        base, end = np.array([row.base for row in rows]), np.array([row.end for row in rows])
        a_t, b_t, s_t, a_r, b_r, s_r = (v[i] for i in (base, end) for v in (self.a, self.b, self.s))
        solver = self.solver
        if solver.renoise or solver.stochasticity:
            share = np.ones_like(s_t)
        else:
            share = np.where(s_t == 0, 1.0, self._share(base, end))
        keep = s_r * np.sqrt(1 - share) / np.where(s_t == 0, 1.0, s_t)
        drift, z, of_x0 = b_r - keep * b_t, s_r * np.sqrt(share), a_r - keep * a_t
        # From a = 0 the integral over a / s of the line through both values is their mean.
        corrected = (a_t == 0) & (share == 0) & (s_r > 0) & (self._corrected(1) & solver.multistep)
        return [
            (x, (w,), y, noise, self._to_noise(row), Corrector(x, (half, half), y) if again else None)
            for row, x, w, y, noise, half, again in zip(
                rows, *(v.tolist() for v in (keep, of_x0, drift, z, a_r / 2, corrected)), strict=True
            )
        ]

    def steps(self, rows: list[_Row], n: int, infinite: bool) -> list[Fields]:
        """Steps that integrate the polynomial through n values; `infinite` if one of these is at log-SNR -infinity."""
        base, end = np.array([row.base for row in rows]), np.array([row.end for row in rows])
        nodes, log_snr = np.array([row.nodes for row in rows]), self.log_snr
        a_t, b_t, s_t, a_r, b_r, s_r = (v[i] for i in (base, end) for v in (self.a, self.b, self.s))
        h = log_snr[end] - log_snr[base]
        with np.errstate(over="ignore"):
            if self.solver.prediction == "data":
                # exp(-2 e h) = 1 - share, so that z's variance is s_r^2 share whatever the chain.
                e: Array = np.full(len(h), float(self.solver.stochasticity))
                if self.solver.eta:
                    e = -np.log1p(-self._share(base, end)) / (2 * h)
                keep, scale, spread = s_r / s_t * np.exp(-e * h), a_r * (1 + e), s_r * np.sqrt(-np.expm1(-2 * e * h))
                p = 1 + e
            else:
                e = np.full(len(h), float(self.solver.stochasticity))
                keep, scale, spread = a_r / a_t, -s_r * (1 + e), s_r * np.sqrt(e * np.expm1(2 * h))
                p = np.full(len(h), -1.0)
        drift = b_r - keep * b_t
        weights = scale[:, None] * self._weights(base, end, nodes, h, p, infinite)
        correctors: list[Corrector | None] = [None] * len(rows)
        if self._corrected(n):
            again = scale[:, None] * self._weights(base, end, np.column_stack([end, nodes]), h, p, infinite)
            columns = (keep.tolist(), map(tuple, again.tolist()), drift.tolist())
            correctors = [Corrector(*column) for column in zip(*columns, strict=True)]
        rows_of_weights = map(tuple, weights.tolist())
        to_noise = [self._to_noise(row) for row in rows]
        return list(
            zip(keep.tolist(), rows_of_weights, drift.tolist(), spread.tolist(), to_noise, correctors, strict=True)
        )

    def _corrected(self, n: int) -> bool:
        """Whether a step of n values is corrected: each if so set, and by default those of a start that needs it."""
        if self.solver.corrector is None:
            return self.solver.corrects_start and n < self.solver.order - 1
        return self.solver.corrector

    def _share(self, base: NDArray[np.intp], end: NDArray[np.intp]) -> Array:
        """The fresh share of the noise's variance at the end of a step, eta^2 (rho / s_r)^2 with the path's own rho."""
        if not self.solver.eta:
            return np.zeros(len(base))
        s_r = self.s[end]
        rho = np.asarray(self.path.fresh_noise(self.moments[base], self.moments[end]))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(s_r > 0, (self.solver.eta * rho / s_r) ** 2, 0.0)

    def _to_noise(self, row: _Row) -> tuple[float, float, float] | None:
        """z_hat = (x - a x0_hat - b y) / s where the newest value is evaluated."""
        if self.solver.prediction == "data":
            return None
        a, b, s = (float(v[row.nodes[0]]) for v in (self.a, self.b, self.s))
        return (1 / s, -a / s, -b / s) if s > 0 else (0.0, 0.0, 0.0)

    def _weights(
        self, base: NDArray[np.intp], end: NDArray[np.intp], nodes: NDArray[np.intp], h: Array, p: Array, infinite: bool
    ) -> Array:
        """The integral's weights (steps, n) of the values at `nodes` (steps, n)."""
        n, log_snr, kind = nodes.shape[1], self.log_snr, self.solver.weights
        if kind == "angle":
            return angle_weights(log_snr[nodes], log_snr[base], log_snr[end], p, self.solver.scale)
        if infinite or kind == "power":
            sign = 1 if infinite or self.solver.prediction == "data" else -1
            relative = np.exp(sign * (log_snr[nodes] - log_snr[end][:, None]))
            return interpolation_weights(relative, power_moments(n, h, p, sign))
        moments = log_moments(n, h, p)
        if kind == "adams":
            steps = (nodes - base[:, None]) / (end - base)[:, None]
            fixed = np.broadcast_to([1 / (k + 1) for k in range(n)], (len(h), n))
            return moments[:, :1] * interpolation_weights(steps, fixed)
        single_of_three = not self.solver.multistep and self.solver.order == 3
        if n == 2 and kind in ("dpm", "b2") and not single_of_three:
            moments[:, 1] = moments[:, 0] / 2
        elif n == 2 and kind == "b1":
            moments[:, 1] = h / 2
        elif n == 3 and kind == "dpm":
            moments[:, 2] /= 2
        return interpolation_weights((log_snr[nodes] - log_snr[base][:, None]) / h[:, None], moments)

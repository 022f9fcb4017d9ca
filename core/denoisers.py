"""Denoisers: E[x0 | x_t, conditions], whatever the network inside predicts."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor, nn

from ornstein.core.paths import Coefficients, Path, expand, time

Prediction = Literal["edm", "data", "noise", "velocity", "score", "flow"]


class Traits(NamedTuple):
    """What a solver's default goes by.

    Args:
        scale: of the data, twice their standard deviation: steps are placed by it.
        learned: the answers are a network's, which are rough where there is more noise than it met in training.
    """

    scale: float = 1.0
    learned: bool = False


class Denoiser(nn.Module, ABC):
    """Answers E[x0 | x_t] on its path.

    Calling it: `denoiser(x_t, t)` with x_t of shape (batch, ...) and t of shape () or (batch,) in [0, 1] gives x0_hat
    like x_t. On a path with an end point, `y` (batch, ...) is given too; further conditions go by keyword.

    Args:
        path: the Gaussian path that x_t lies on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def traits(self) -> Traits:
        """What solvers should know of it."""
        return Traits()

    @property
    def scale(self) -> float:
        """The scale of the data, twice their standard deviation."""
        return self.traits.scale

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        """x0_hat = E[x0 | x_t, y, conditions], of the shape and dtype of x_t."""

    def on(self, path: Path) -> "Denoiser":
        """The same denoiser for x_t of another path: where log-SNRs agree, the paths differ by a factor only.

        Raises:
            ValueError: between paths whose noises differ in kind (Gaussian or not).
        """
        if path == self.path:
            return self
        if not (path.gaussian and self.path.gaussian):
            raise ValueError(f"a denoiser of {self.path} does not serve {path}: their noises are not both Gaussian")
        return _OnPath(self, path)

    def along(self, times: Tensor) -> list[Callable[..., Tensor]]:
        """For each of the times (n,), or (n, batch), a function (x_t, y=None, /, **conditions) -> x0_hat.

        Solvers ask through it, so that a denoiser may compute once what depends on the times alone.
        """
        return [partial(self._at, t) for t in times.unbind()]

    def _at(self, t: Tensor, x_t: Tensor, y: Tensor | None = None, /, **conditions: Tensor) -> Tensor:
        return self(x_t, t, y, **conditions)


class _OnPath(Denoiser):
    """A denoiser of one path, asked on another: x_t / a, at the same log-SNR, is the same observation of x0.

    It is not asked beyond the ends of its own path: what is noisier than its t = 1 (pure noise, say) counts as that.
    """

    def __init__(self, inner: Denoiser, path: Path) -> None:
        super().__init__(path)
        self.inner = inner

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        outer = self.path.coefficients(t)
        t_inner = self._time(t)
        inner = self.inner.path.coefficients(t_inner)
        u = x_t if y is None else x_t - expand(outer.b, x_t) * y
        u = u * expand(_ratio(inner, outer), x_t)
        return self.inner(u if y is None else u + expand(inner.b, x_t) * y, t_inner, y, **conditions)

    def along(self, times: Tensor) -> list[Callable[..., Tensor]]:
        if times.ndim > 1:
            return super().along(times)
        outer = self.path.coefficients(times)
        t_inner = self._time(times)
        inner = self.inner.path.coefficients(t_inner)
        ratio = _ratio(inner, outer)
        rows = zip(self.inner.along(t_inner), ratio.tolist(), (inner.b - ratio * outer.b).tolist(), strict=True)
        return [partial(self._rescaled, *row) for row in rows]

    def _time(self, t: Tensor | float) -> Tensor:
        return self.inner.path.time_of(self.path.log_snr(t).clamp(-20, 20)).clamp(0, 1)

    @staticmethod
    def _rescaled(
        evaluate: Callable[..., Tensor],
        ratio: float,
        b: float,
        x_t: Tensor,
        y: Tensor | None = None,
        /,
        **conditions: Tensor,
    ) -> Tensor:
        x = torch.mul(x_t, ratio)
        return evaluate(x if y is None else x.add_(y, alpha=b), y, **conditions)

    def on(self, path: Path) -> Denoiser:
        return self.inner.on(path)


def _ratio(inner: Coefficients, outer: Coefficients) -> Tensor:
    """What turns u of the outer path into u of the inner, where their log-SNRs agree."""
    # The ratio of the s is finite also where a = 0 (rectified flow at t = 1), that of the a where s = 0 (at t = 0); where
    # both are 0 (bridges at t = 1) u is 0.
    ratio = torch.where(outer.s > 0, inner.s / outer.s, inner.a / outer.a)
    return torch.where((outer.s > 0) | (outer.a > 0), ratio, 0.0)


class NetworkDenoiser(Denoiser):
    """A network's output turned into x0_hat.

    With sigma = s / a and x = x_t / a the predictions are

        data      x0_hat = F
        noise     x0_hat = (x_t - s F) / a
        score     x0_hat = (x_t + s^2 F) / a
        velocity  x0_hat = (a x_t - s F) / (a^2 + s^2),             F = a z - s x0        (Salimans and Ho)
        flow      x0_hat = (s' x_t - s F) / (s' a - s a'),          F = dx_t/dt
        edm       x0_hat = c_skip x + c_out F(c_in x, log(sigma) / 4)                     (Karras et al.)

    and for all but `edm` the network sees x_t c with c = 1 / sqrt(a^2 sigma_data^2 + s^2), its expected unit scale.
    The network is called as F(input, noise_label, **conditions), noise_label = log(sigma) / 4 of shape (batch,).

    Args:
        network: a module that keeps the shape of its first argument.
        path: the path of x_t.
        prediction: what the network predicts.
        sigma_data: standard deviation of the data, above 0, in the data's units.

    Raises:
        ValueError: for an unknown prediction.

    Source: Karras et al. (2022), arXiv:2206.00364, eq. 7 and table 1; Salimans and Ho (2022), Progressive
    distillation, arXiv:2202.00512, appendix D; Song et al. (2021), arXiv:2011.13456.
    """

    def __init__(self, network: nn.Module, path: Path, prediction: Prediction = "edm", sigma_data: float = 0.5) -> None:
        super().__init__(path)
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction {prediction!r}; known: {', '.join(get_args(Prediction))}")
        self.network = network
        self.prediction = prediction
        self.sigma_data = sigma_data

    @property
    def traits(self) -> Traits:
        return Traits(2 * self.sigma_data, learned=True)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        t = time(t)
        c = self.path.coefficients(t)
        u = x_t if y is None else x_t - expand(c.b, x_t) * y
        (skip, out), (scale, label) = self._weights(c), self._inputs(t, c)
        f = self._ask(
            expand(scale, u) * u, label.to(device=x_t.device, dtype=torch.float32).expand(len(x_t)), y, conditions
        )
        return expand(skip, u) * u + expand(out, u) * f

    def along(self, times: Tensor) -> list[Callable[..., Tensor]]:
        if times.ndim > 1:
            return super().along(times)
        c = self.path.coefficients(times)
        columns = (*self._weights(c), *self._inputs(times, c), c.b)
        return [partial(self._with_weights, *row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _with_weights(
        self,
        skip: float,
        out: float,
        scale: float,
        label: float,
        b: float,
        x_t: Tensor,
        y: Tensor | None = None,
        /,
        **conditions: Tensor,
    ) -> Tensor:
        """`forward` for one time, with its weights as numbers: neither small tensors nor copies to a device."""
        u = x_t if y is None or b == 0 else x_t.sub(y, alpha=b)
        labels = torch.full((len(x_t),), label, dtype=torch.float32, device=x_t.device)
        return torch.mul(u, skip).add_(self._ask(u * scale, labels, y, conditions), alpha=out)

    def _ask(self, x: Tensor, label: Tensor, y: Tensor | None, conditions: dict[str, Tensor]) -> Tensor:
        """The network's output for its scaled input and its label (batch,)."""
        if y is not None:
            conditions = {**conditions, "y": y}
        return self.network(x, label, **conditions).to(x.dtype)

    def _inputs(self, t: Tensor, c: Coefficients) -> tuple[Tensor, Tensor]:
        """The scale of the network's input and its label; an infinite noise level (flow at t = 1) has a finite one."""
        return self._inverse_scale(c), -self.path.log_snr(t).clamp(-20, 20) / 4

    def _weights(self, c: Coefficients) -> tuple[Tensor, Tensor]:
        """The weights of x_t and of the network's output in x0_hat."""
        a, s = c.a, c.s
        match self.prediction:
            case "data":
                return torch.zeros_like(a), torch.ones_like(a)
            case "noise":
                return 1 / a, -s / a
            case "score":
                return 1 / a, s**2 / a
            case "velocity":
                return a / (a**2 + s**2), -s / (a**2 + s**2)
            case "flow":
                return c.ds / (c.ds * a - s * c.da), -s / (c.ds * a - s * c.da)
            case _:  # edm, written in a and s so that it stays finite where a = 0, and where both are 0 with u
                inverse = self._inverse_scale(c)
                out = torch.where(inverse > 0, s * self.sigma_data * inverse, self.sigma_data)
                return a * self.sigma_data**2 * inverse**2, out

    def _inverse_scale(self, c: Coefficients) -> Tensor:
        """1 / sqrt(a^2 sigma_data^2 + s^2), and 0 where u is 0 for certain (bridges at t = 1)."""
        square = (c.a * self.sigma_data) ** 2 + c.s**2
        return torch.where(square > 0, torch.rsqrt(square), 0.0)

    def replace_network(self, network: nn.Module) -> Self:
        """The same denoiser around another network (its moving average, say)."""
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.network = network
        return other

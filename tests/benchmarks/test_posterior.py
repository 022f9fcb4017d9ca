"""The benchmark of posterior samplers: its exact posteriors are exact, its scores know them, its rows are whole."""

import sys

import pytest
import torch


@pytest.fixture(scope="module")
def benchmark(repository):
    """The modules of the benchmark."""
    sys.path.insert(0, str(repository / "benchmarks"))
    try:
        import posterior
        import posterior_report
        import posterior_targets
    finally:
        sys.path.pop(0)
    return posterior, posterior_targets, posterior_report


@pytest.mark.parametrize("name", ["gauss", "gmm4"])
def test_posteriors_are_exact(benchmark, name):
    """Against the density of the prior times that of y, by importance weights of the exact samples: they are all alike."""
    _, targets, _ = benchmark
    one = targets.problem(name)
    x = one.exact(50, seed=0)[0]
    if name == "gauss":
        prior = torch.distributions.MultivariateNormal(one.denoiser.mean, one.denoiser.covariance.dense()).log_prob(x)
    else:
        distance = (x[:, None] - one.denoiser.modes).square().sum(-1)
        prior = torch.logsumexp(-distance / (2 * one.denoiser.variance), dim=1)
    joint = prior - (one.y[0] - x @ one.matrix.mT).square().sum(1) / (2 * targets.NOISE**2)
    parts = torch.distributions.MultivariateNormal(one.means[0], one.covariance).log_prob(x[:, None])
    posterior = torch.logsumexp(parts + one.weights[0].log(), dim=1)
    assert float((joint - posterior).std()) < 1e-6


def test_scores_of_exact_samples_are_those_of_monte_carlo(benchmark):
    _, targets, _ = benchmark
    one = targets.problem("gmm4")
    assert sum(float(w.max()) < 0.9 for w in one.weights) >= 15  # most y leave several modes
    truth = one.exact(2000, seed=9)
    found = targets.scores(one.exact(1000, seed=1), one, truth)
    assert found["mean_error"] < 1.5 / 1000**0.5
    assert found["coverage90"] == pytest.approx(0.9, abs=0.01)
    biased = targets.scores(one.exact(1000, seed=1) * 1.5, one, truth)
    assert biased["mean_error"] > 0.1 and biased["covariance_error"] > 0.5


def test_default_is_near_exact_and_its_rows_are_whole(benchmark, monkeypatch):
    posterior, _, report = benchmark
    first = next(posterior.methods(True))
    assert (first.library, first.name) == ("ornstein", "auto")
    monkeypatch.setattr(posterior, "methods", lambda quick: iter([first]))
    rows = list(posterior.measure(True, ["gauss"], 200))
    assert set(rows[0]) >= {
        "library", "method", "prior", "evaluations", "vjps", "seconds", "mean_error", "covariance_error",
        "exact_mean_error", "exact_covariance_error", "coverage90",
    }  # fmt: skip
    assert rows[0]["evaluations"] <= 20
    assert rows[0]["mean_error"] < 1.15 * rows[0]["exact_mean_error"]
    assert rows[0]["covariance_error"] < 1.15 * rows[0]["exact_covariance_error"]
    assert "auto" in posterior.table(rows)
    both = [*rows, rows[0] | {"prior": "gmm4"}]
    assert "| `auto`, 20 / 20 |" in report.summary(both)

"""The benchmark of solvers: its targets are what they say, its rows are whole, and peers are the methods of their names."""

import json
import sys

import pytest
import torch


@pytest.fixture(scope="module")
def benchmark(repository):
    """The modules of the benchmark."""
    sys.path.insert(0, str(repository / "benchmarks"))
    try:
        import solvers
        import solvers_report
        import solvers_targets
    finally:
        sys.path.pop(0)
    return solvers, solvers_targets, solvers_report


def test_the_estimated_moments_are_near_the_exact_ones(benchmark):
    _, targets, _ = benchmark
    for name in ("gmm2", "gmm64", "gauss64"):
        problem = targets.problems(name, samples=4, seeds=1, quick=True)[0]
        spread = problem.exact.covariance.trace().sqrt()  # of a sample from the mean, of which 1,000 leave a 32nd
        assert (problem.estimated.mean - problem.exact.mean).norm() < 0.1 * spread
        ratio = float(problem.estimated.covariance.trace() / problem.exact.covariance.trace())
        assert ratio == pytest.approx(1, abs=0.15)  # measured within 0.03


def test_the_reference_is_better_known_than_any_error_that_is_compared(benchmark):
    _, targets, _ = benchmark
    for name in ("gmm2", "gmm64"):
        assert targets.problems(name, samples=32, seeds=1, quick=True)[0].doubt < 1e-4


def test_every_grid_has_the_same_ends_and_every_budget_is_kept(benchmark):
    solvers, targets, _ = benchmark
    for letter, (path, grid) in solvers.GRIDS.items():
        levels = targets.levels(path, grid, 5)
        assert levels[[0, -1]].tolist() == pytest.approx([80, 0.002], rel=1e-9), letter
    for name, (solver, letters) in solvers.OURS.items():
        for n in (5, 10, 20, 50):
            assert n - 2 <= solvers.setting(solver, letters[0]).used(n) <= n, name


def test_the_rows_hold_what_is_compared(benchmark, tmp_path, monkeypatch, capsys):
    solvers, _, report = benchmark
    monkeypatch.setattr(solvers, "QUICK_SAMPLES", 32)
    monkeypatch.setattr(solvers, "LIBRARIES", {})
    monkeypatch.setattr(solvers, "OURS", {name: solvers.OURS[name] for name in ("DDIM", "Heun")})
    monkeypatch.setattr(sys, "argv", ["solvers.py", "--quick", "--json", str(tmp_path / "rows.json")])
    solvers.main()
    rows = json.loads((tmp_path / "rows.json").read_text())
    wanted = {"library", "sampler", "target", "evaluations", "rmse", "sliced_wasserstein", "overhead_us"}
    assert all(wanted <= row.keys() for row in rows)
    error = {(row["sampler"], row["target"], row["evaluations"]): row["rmse"] for row in rows}
    for target in ("gmm2", "gmm64", "gauss64"):
        for name in ("auto", "auto-no-teleport", "auto-exact-covariance"):
            assert error[name, target, 50] < error["DDIM K", target, 50]
    assert "auto-no-teleport" in capsys.readouterr().out
    report.draw(rows, str(tmp_path / "picture.svg"))
    assert (tmp_path / "picture.svg").read_text().startswith("<?xml")


def test_a_table_takes_the_place_of_the_one_before(benchmark, tmp_path):
    _, _, report = benchmark
    cell = {"target": "gmm2", "evaluations": 5, "overhead_us": 1.0}
    rows = [
        {"library": "ornstein", "sampler": "auto", "rmse": 0.02, **cell},
        {"library": "azula", "sampler": "zEAB3 K", "rmse": 0.03, **cell},
        {"library": "diffusers", "sampler": "UniPC3 L", "rmse": 0.15, **cell},
    ]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.write_table({"rows": rows}, str(page))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| `auto` | 0.02 | 1 |" in text and "| best peer of each cell | 0.03 | |" in text


def test_the_page_shows_the_kept_results(repository, benchmark):
    _, _, report = benchmark
    kept = json.loads((repository / "benchmarks" / "results" / "solvers.json").read_text())
    assert report.summary(kept) in (repository / "docs" / "solvers.md").read_text(encoding="utf-8")


def test_zeab_of_azula_is_our_deis(benchmark):
    pytest.importorskip("azula")
    solvers, targets, _ = benchmark
    peers = {peer.name: peer for peer in solvers.LIBRARIES["azula"]()}
    problem = targets.problems("gmm2", samples=16, seeds=1, quick=True)[0]
    theirs = solvers.theirs(peers["zEAB3 K"]).run(problem, 10)
    ours = solvers.setting(*solvers.OURS["DEIS 3, log(rho)"]).run(problem, 10)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)

"""The benchmark of networks: that it compares networks of equal size, and that its ratios are those of its times."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_networks_of_equal_size_are_compared(repository, tmp_path):
    pytest.importorskip("einops", reason="MONAI's diffusion network asks for it: the bench group")
    file = tmp_path / "networks.json"
    command = [sys.executable, "benchmarks/networks.py", "--quick", "--json", str(file)]
    printed = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True, timeout=500).stdout
    result = json.loads(file.read_text())
    sizes = result["parameters"]
    assert all(abs(size / sizes["monai"] - 1) < 0.05 for size in sizes.values())
    assert {(row["mode"], row["precision"]) for row in result["rows"]} == {
        (mode, precision) for mode in ("forward", "training") for precision in ("fp32", "bf16")
    }
    for row in result["rows"]:
        for name, ratio in row["ratio"].items():
            assert ratio == pytest.approx(row["seconds"]["monai"] / row["seconds"][name])
        assert f"{row['ratio']['patches']:.2f}" in printed
    assert result["machine"]["processor"] and "shared" in result["note"]

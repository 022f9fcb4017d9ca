"""The benchmark of devices, on the CPU: that it runs, and that what it writes is possible."""

import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def result(repository, tmp_path_factory):
    file = tmp_path_factory.mktemp("gpu") / "gpu.json"
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--json", str(file)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True, timeout=900)
    return json.loads(file.read_text())


def test_every_pipeline_is_measured_in_each_precision_and_batch(result):
    measured = {(row["pipeline"], row["precision"], row["batch"]) for row in result["results"]}
    assert measured == {("mri reconstruct", precision, batch) for precision in ("fp32", "bf16") for batch in (1, 2)}


def test_network_and_roofline_are_parts_of_the_whole(result):
    for row in result["results"]:
        assert 0 < row["network_share"] < 1
        assert 0 < row["roofline_whole"] < row["roofline"]
        assert row["per_second"] == pytest.approx(row["batch"] / row["seconds"])
        assert row["tflops"] == pytest.approx(row["roofline_whole"] * result["matmul_bf16_flops"] / 1e12)


def test_machine_is_named(result):
    assert result["machine"]["processor"] and result["machine"]["torch"]

"""The MRI workflow: a sample sheet in, the right commands out, and nothing else."""

import json

import nibabel
import numpy as np
import pytest

SHEET = """sample\tkspace\treference\tsensitivities
one\tdaten (März)/k 1.h5\tdata/1.nii\t
two\tdata/2.h5\t\tdata/m.cfl
"""


def test_a_dry_run_plans_the_commands_of_the_sheet(study):
    study.sheet(SHEET)
    study.touch("daten (März)/k 1.h5", "data/1.nii", "data/2.h5", "data/m.cfl", "data/m.hdr")
    study.configure(reconstruct={"method": "sense", "max_memory": 6.5, "force": True}, report={"pictures": 3})
    planned = study.plan("--workflow-profile", "profiles/local")
    reconstructions = [words for words in planned if words[:3] == ["ornstein", "mri", "reconstruct"]]
    assert len(planned) == 4 and len(reconstructions) == 2
    for words in reconstructions:
        assert {"--method=sense", "--max-memory=6.5", "--force", "--overwrite"} <= set(words)
        assert words[3] in ("daten (März)/k 1.h5", "data/2.h5")
        assert ("--sensitivities=data/m.cfl" in words) == (words[3] == "data/2.h5")
    (evaluation,) = [words for words in planned if words[1] == "evaluate"]
    assert evaluation[3:5] == ["results/samples/one/one.nii.gz", "data/1.nii"]
    (report,) = [words for words in planned if words[1:3] == ["workflow", "report"]]
    assert {"results/samples/two/two.nii.gz", "results/samples/one/measures.json", "--pictures=3"} <= set(report)


def test_a_scan_needs_kspace(problems):
    assert problems("samples", {"sample": "a"})


def test_a_wrong_configuration_is_refused_by_name(study):
    study.sheet("sample\tkspace\none\tdata/1.h5\n")
    study.touch("data/1.h5")
    study.configure(reconstruct={"method": "magic"})
    done = study.snakemake("--dry-run")
    assert done.returncode != 0 and "magic" in done.stdout + done.stderr


@pytest.mark.slow
def test_two_simulated_scans_become_images_measures_and_a_report(study):
    from ornstein.pipelines import mri

    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (72, 88, 3)], indexing="ij"))
    shell = np.sqrt((grid[:2] ** 2).sum(0))
    head = (100.0 * (shell < 0.8) * (1 + 0.3 * np.sin(9 * grid[0]) * np.cos(7 * grid[1]))).astype(np.float32)
    (study.folder / "data").mkdir()
    nibabel.save(nibabel.Nifti1Image(head, affine), study.folder / "data" / "head.nii.gz")
    for name, seed in (("k 1.h5", 1), ("k 2.h5", 2)):
        simulated = mri.simulate(str(study.folder / "data" / "head.nii.gz"), acceleration=2, seed=seed, slice_axis=2)
        simulated.save(study.folder / "data" / name)
    study.sheet("sample\tkspace\treference\na\tdata/k 1.h5\tdata/head.nii.gz\nb\tdata/k 2.h5\t\n")
    study.configure(reconstruct={"method": "sense"})
    results = study.run(timeout=900)
    for name in "ab":
        made = nibabel.load(results / "samples" / name / f"{name}.nii.gz")
        assert made.shape == head.shape and np.allclose(made.affine, affine)
    measures = json.loads((results / "samples" / "a" / "measures.json").read_text())
    assert measures["psnr_head"] > 20  # an error of a tenth of the peak; SENSE at 2x is well above it
    a, b = study.table()
    assert (a["name"], b["name"], a["method"]) == ("a", "b", "sense")
    assert float(a["psnr_head"]) == pytest.approx(measures["psnr_head"]) and b["psnr_head"] == ""
    page = (results / "report.html").read_text()
    assert page.count("data:image/png") >= 2 and "research use only" in page.lower()
    study.assert_done()

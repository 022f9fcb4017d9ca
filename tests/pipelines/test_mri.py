"""The MRI pipeline around the science: geometry, slices, uncertainty, refusals, inputs of every kind."""

import json

import nibabel
import numpy as np
import pytest

from ornstein.core.errors import InputError, TooLargeError, UsageError
from ornstein.datasets.fourier import to_image
from ornstein.datasets.kspace import KSpace
from ornstein.domains.mri.reconstruction import SliceImages
from ornstein.pipelines import mri, mri_results
from ornstein.pipelines.mri_inputs import as_volume

SHAPE = (40, 36, 14)


def head(shape=SHAPE):
    """An ellipsoid with some structure, empty in its lowest and highest slices."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.sqrt((grid**2 * np.array([1.5, 1.5, 2.2])[:, None, None, None]).sum(0))
    return (100 * (radius < 1) * (1 + 0.3 * np.sin(9 * grid[0]) * np.cos(7 * grid[1]))).astype(np.float32)


@pytest.fixture
def volume(tmp_path):
    """A NIfTI file whose axes are flipped and permuted, with codes and units: (path, image)."""
    affine = np.array([[0, 0, -1.1, 30], [0.9, 0, 0, -20], [0, -1.3, 0, 15], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(head().transpose(1, 2, 0), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, 1)
    image.set_sform(affine, 4)
    nibabel.save(image, tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz", image


@pytest.fixture
def by_fourier(monkeypatch):
    """Root-sum-of-squares in the place of the science, in as many noisy copies as samples were asked for."""
    calls = []

    def science(scan, numbers, model, maps, coil_compression, settings):
        def work(kspace, numbers, progress):
            calls.append((list(numbers), dict(settings)))
            images = np.sqrt(np.square(np.abs(to_image(kspace.data))).sum(1))
            noise = [
                np.random.default_rng((settings["seed"], k)).standard_normal(images.shape)
                for k in range(settings["samples"])
            ]
            drawn = np.stack([images + (0.1 * n if settings["samples"] > 1 else 0) for n in noise]).astype(np.complex64)
            return SliceImages(drawn, np.full(len(images), 0.05), warnings=["made by a test"])

        return work, None

    monkeypatch.setattr(mri, "_science", science)
    return calls


@pytest.fixture
def kspace_file(volume, tmp_path, ornstein):
    code, _, err = ornstein(
        "mri", "simulate", volume[0], "-o", tmp_path / "k.h5", "--acceleration", 1, "--noise", 0.001, "--coils", 3
    )
    assert code == 0, err
    return tmp_path / "k.h5"


def test_what_was_simulated_fully_comes_back_on_the_same_grid(ornstein, volume, kspace_file, by_fourier, tmp_path):
    code, _, err = ornstein("mri", "reconstruct", kspace_file, "-o", tmp_path / "r.nii.gz", "--method", "zero-filled")
    assert code == 0, err
    truth, made = volume[1], nibabel.load(tmp_path / "r.nii.gz")
    assert made.shape == truth.shape
    np.testing.assert_allclose(made.affine, truth.affine, atol=1e-5)  # NIfTI keeps float32
    assert int(made.header["qform_code"]) == 1 and int(made.header["sform_code"]) == 4
    assert made.header.get_xyzt_units()[0] == "mm"
    # The noise of 0.1 % of the peak in each of three coils, and nothing else.
    assert np.abs(made.get_fdata() - truth.get_fdata()).max() < 0.03 * truth.get_fdata().max()


def test_empty_slices_are_zero_and_cost_nothing(ornstein, kspace_file, by_fourier, tmp_path):
    ornstein("mri", "reconstruct", kspace_file, "-o", tmp_path / "r.npy", "--method", "zero-filled")
    side = json.loads((tmp_path / "r.npy.json").read_text())
    image = np.load(tmp_path / "r.npy")
    worked = sorted(n for numbers, _ in by_fourier for n in numbers)
    filled = np.flatnonzero(image.any((0, 2)))
    assert worked == filled.tolist() and 0 < side["measures"]["empty_slices"] == SHAPE[2] - len(worked)
    assert side["warnings"] == ["made by a test"]


def test_some_slices_keep_their_place_in_space(ornstein, volume, kspace_file, by_fourier, tmp_path):
    code, _, err = ornstein(
        "mri", "reconstruct", kspace_file, "-o", tmp_path / "r.nii.gz", "--method", "sense", "--slices", "5:9"
    )
    assert code == 0, err
    made, truth = nibabel.load(tmp_path / "r.nii.gz"), volume[1]
    assert sorted(made.shape) == sorted((SHAPE[0], SHAPE[1], 4))
    image, reference = as_volume(tmp_path / "r.nii.gz"), as_volume(truth)
    part, notes = mri_results.aligned(image, reference)
    assert part.shape == made.shape and notes
    assert np.abs(image.data - part).max() < 0.03 * truth.get_fdata().max()


@pytest.mark.parametrize(("words", "code"), [("14:20", 2), ("5:5", 2), ("a:b", 2), ("5", 2)])
def test_slices_that_are_not_there_are_wrong_usage(ornstein, kspace_file, by_fourier, tmp_path, words, code):
    assert (
        ornstein("mri", "reconstruct", kspace_file, "-o", tmp_path / "r.nii.gz", "--method", "tv", "--slices", words)[0]
        == code
    )


def test_noise_alone_is_refused_and_force_goes_on(ornstein, by_fourier, tmp_path):
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((4, 3, 64, 48)) + 1j * generator.standard_normal((4, 3, 64, 48))
    np.save(tmp_path / "n.npy", noise.astype(np.complex64))
    code, _, err = ornstein("mri", "reconstruct", tmp_path / "n.npy", "-o", tmp_path / "r.npy", "--method", "tv")
    assert code == 4 and "n.npy" in err and not (tmp_path / "r.npy").exists()
    assert (
        ornstein("mri", "reconstruct", tmp_path / "n.npy", "-o", tmp_path / "r.npy", "--method", "tv", "--force")[0]
        == 0
    )


def test_mean_and_deviation_are_those_of_the_samples():
    generator = np.random.default_rng(0)
    drawn = (generator.standard_normal((5, 2, 6, 4)) + 3 + 1j).astype(np.complex64)
    scan = KSpace(np.ones((2, 1, 6, 4), np.complex64)).as_scan()
    for part, of in (("magnitude", np.abs), ("complex", lambda x: x)):
        made = mri_results.Reconstruction.empty(scan, 0, 2, part, 5, keep_samples=True)
        made.fill(np.arange(2), SliceImages(drawn, np.zeros(2)))
        made.finish()
        np.testing.assert_allclose(made.image, of(drawn.mean(0)).transpose(1, 2, 0), rtol=1e-5)
        np.testing.assert_allclose(made.std, of(drawn).std(0, ddof=1).transpose(1, 2, 0), rtol=1e-4)
        np.testing.assert_allclose(made.samples, of(drawn).transpose(0, 2, 3, 1), rtol=1e-6)


def test_deviation_of_a_phase_does_not_see_the_jump_at_pi():
    angles = np.pi + np.array([-0.1, 0.0, 0.1])
    drawn = np.exp(1j * angles)[:, None, None, None].astype(np.complex64)
    made = mri_results.Reconstruction.empty(
        KSpace(np.ones((1, 1, 1, 1), np.complex64)).as_scan(), 0, 1, "phase", 3, False
    )
    made.fill(np.arange(1), SliceImages(drawn, np.zeros(1)))
    assert made.std is not None and made.std.item() == pytest.approx(0.1, rel=1e-3)


def test_samples_are_written_beside_when_they_are_kept(ornstein, kspace_file, by_fourier, monkeypatch, tmp_path):
    monkeypatch.setattr(
        mri.models, "find_model", lambda *_: mri.models.Model("m", "mri", tmp_path, {"sha256": "0" * 64})
    )
    done = ornstein("mri", "reconstruct", kspace_file, "-o", tmp_path / "r.nii.gz", "--samples", 2, "--keep-samples")
    assert done[0] == 0, done
    made = sorted(file.name for file in tmp_path.glob("r*"))
    assert made == ["r-sample-1.nii.gz", "r-sample-2.nii.gz", "r-std.nii.gz", "r.nii.gz", "r.nii.gz.json"]
    assert json.loads((tmp_path / "r.nii.gz.json").read_text())["model"] == {"name": "m", "sha256": "0" * 64}


def test_bart_files_come_in_pairs(ornstein, kspace_file, by_fourier, tmp_path):
    assert (
        ornstein("mri", "reconstruct", kspace_file, "-o", tmp_path / "r.cfl", "--method", "tv", "--part", "complex")[0]
        == 0
    )
    assert (tmp_path / "r.hdr").exists() and (tmp_path / "r.cfl").exists() and (tmp_path / "r.cfl.json").exists()
    (tmp_path / "r.cfl").unlink()
    code, _, err = ornstein("mri", "reconstruct", kspace_file, "-o", tmp_path / "r.cfl", "--method", "tv")
    assert code == 2 and "r.hdr" in err


def test_too_little_memory_is_said_before_work_starts(ornstein, kspace_file, by_fourier, tmp_path):
    code, _, err = ornstein(
        "mri", "reconstruct", kspace_file, "-o", tmp_path / "r.npy", "--method", "tv", "--max-memory", 0.001
    )
    assert code == 5 and "memory" in err and not by_fourier


def test_options_that_contradict_each_other_are_wrong_usage(ornstein, kspace_file, tmp_path):
    for words in (["--method", "tv", "--model", "x"], ["--precision", "fp16", "--method", "tv", "--device", "cpu"]):
        assert ornstein("mri", "reconstruct", kspace_file, "-o", tmp_path / "r.npy", *words)[0] == 2


def test_report_shows_planes_error_and_deviation(ornstein, volume, kspace_file, by_fourier, tmp_path):
    done = ornstein(
        "mri", "simulate", volume[0], "-o", tmp_path / "s.h5", "--pattern", "radial", "--report", tmp_path / "s.html"
    )  # fmt: skip
    assert done[0] == 0 and (tmp_path / "s.html").read_text().count("data:image/png") == 2
    result = mri.reconstruct(str(kspace_file), method="tv")
    result.reference = as_volume(volume[0])
    result.report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/png") == 2 and "Research use only" in page and "coil_compression" in page


@pytest.mark.parametrize("kind", ["path", "KSpace", "array", "tensor", "one slice"])
def test_python_takes_files_and_arrays_alike(kspace_file, by_fourier, kind):
    import torch

    from ornstein.datasets.kspace import read_kspace

    kspace = read_kspace(kspace_file)
    given = {
        "path": kspace_file,
        "KSpace": kspace,
        "array": kspace.data,
        "tensor": torch.from_numpy(kspace.data),
        "one slice": kspace.data[7],
    }[kind]
    result = mri.reconstruct(given, method="zero-filled")
    whole = np.sqrt(np.square(np.abs(to_image(kspace.data))).sum(1))
    found = result.image.transpose(kspace.axes if kind in ("path", "KSpace") else (2, 0, 1))
    wanted = whole[7:8] if kind == "one slice" else whole
    np.testing.assert_allclose(found[found.any((1, 2))], wanted[found.any((1, 2))], rtol=1e-5, atol=1e-3)
    assert result.std is None and result.model is None and result.provenance.parameters["method"] == "zero-filled"


def test_python_calls_are_checked_as_the_command_line_is(kspace_file):
    for wrong in ({"steps": 0}, {"method": "magic"}, {"slices": "x"}, {"device": "toaster"}, {"samples": 1.5}):
        with pytest.raises(UsageError):
            mri.reconstruct(str(kspace_file), **wrong)
    with pytest.raises(InputError):
        mri.reconstruct(np.ones((3, 4)), method="tv")
    with pytest.raises(TooLargeError):
        mri.reconstruct(str(kspace_file), method="tv", max_memory=0.001)


def test_simulation_in_python_gives_kspace_with_its_maps(volume):
    made = mri.simulate(volume[1], coils=2, acceleration=3.0)
    kspace = made.kspace
    assert kspace.data.shape[1] == 2 and kspace.true_sensitivities is not None
    assert made.measures["sampled_fraction"] == pytest.approx(1 / 3, abs=0.03)
    np.testing.assert_allclose(kspace.affine, volume[1].affine)


def test_volumes_of_different_grids_are_not_compared(volume):
    image = as_volume(volume[1])
    turned = type(image)(image.data, image.affine @ np.diag([2, 1, 1, 1]))
    with pytest.raises(InputError, match="grid"):
        mri_results.aligned(image, turned)
    with pytest.raises(InputError, match="grid"):
        mri_results.aligned(image, type(image)(image.data[1:], image.affine))


def test_module_is_loaded_by_the_package_without_torch():
    import subprocess
    import sys

    code = "import sys, ornstein; ornstein.mri.reconstruct; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        == ["False"] * 2
    )

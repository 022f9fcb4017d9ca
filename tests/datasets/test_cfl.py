"""BART's arrays, written by hand from the description of the format."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.errors import InputError
from ornstein.datasets import cfl
from ornstein.datasets.fourier import to_image
from ornstein.datasets.kspace import open_kspace, read_kspace, read_sensitivities


def by_hand(path, array):
    """A `.cfl` as BART's documents describe it: column-major complex64, and the dimensions as text."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + " \n# Command\nby hand\n")
    path.write_bytes(array.astype(np.complex64).ravel(order="F").tobytes())
    return path


def values(*shape):
    generator = np.random.default_rng(0)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_what_is_written_is_read_back_and_is_what_one_writes_by_hand(tmp_path_factory, shape):
    folder, array = tmp_path_factory.mktemp("cfl"), values(*shape)
    cfl.write(folder / "a.cfl", array)
    by_hand(folder / "b.cfl", array)
    assert (folder / "a.cfl").read_bytes() == (folder / "b.cfl").read_bytes()
    assert np.array_equal(cfl.read(folder / "b.cfl").reshape(shape, order="F"), array)


def test_slices_are_readout_by_phase_with_coils_in_the_fourth_dimension(tmp_path):
    array = values(8, 6, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2)
    array[:, 1] = 0
    kspace = read_kspace(by_hand(tmp_path / "k.cfl", array))
    assert kspace.data.shape == (2, 3, 8, 6)
    assert kspace.data[1, 2, 5, 4] == array[5, 4, 0, 2, ..., 1].item()
    assert kspace.mask.tolist() == [True, False, True, True, True, True]


def test_a_volume_is_transformed_along_its_readout(tmp_path):
    array = values(4, 6, 5, 2)
    array[:, 2, 3] = 0
    kspace = read_kspace(by_hand(tmp_path / "k.cfl", array))
    assert kspace.data.shape == (4, 2, 6, 5)
    assert kspace.axes == (0, 1, 2)
    assert np.allclose(kspace.data.transpose(0, 2, 3, 1), to_image(array, (0,)), atol=1e-6)
    assert (~kspace.mask).sum() == 1 and not kspace.mask[2, 3]
    volume = kspace.to_volume(np.zeros((4, 6, 5)))
    assert volume.shape == (4, 6, 5)


def test_one_slice_with_two_phase_encodes_is_left_as_it_is(tmp_path):
    array = values(1, 6, 5, 2)
    with open_kspace(by_hand(tmp_path / "k.cfl", array)) as scan:
        kspace = scan.read()
        assert scan.volume_shape == (1, 6, 5)
    assert np.array_equal(kspace.data[0].transpose(1, 2, 0), array[0])


@pytest.mark.parametrize("sets", [1, 2])
def test_maps_are_read_with_their_sets(tmp_path, sets):
    k = read_kspace(by_hand(tmp_path / "k.cfl", values(8, 6, 1, 3)))
    array = values(8, 6, 1, 3, sets)
    maps = read_sensitivities(by_hand(tmp_path / "s.cfl", array), k)
    assert maps.shape == ((1, 3, 8, 6) if sets == 1 else (1, 2, 3, 8, 6))
    last = maps if sets == 1 else maps[:, -1]
    assert np.array_equal(last[0].transpose(1, 2, 0), array[:, :, 0, :, -1])


def test_damaged_pairs_are_refused_by_name(tmp_path):
    def refused(words):
        with pytest.raises(InputError, match=words):
            read_kspace(tmp_path / "k.cfl")

    by_hand(tmp_path / "k.cfl", values(4, 4, 1, 2))
    (tmp_path / "k.hdr").write_text("no dimensions")
    refused(r"k\.hdr")
    (tmp_path / "k.hdr").write_text("# Dimensions\n4 4 1 3\n")
    refused(r"k\.cfl: has 256 bytes")
    (tmp_path / "k.hdr").write_text("# Dimensions\n4 -4 1 2\n")
    refused(r"k\.hdr")
    (tmp_path / "k.hdr").unlink()
    refused(r"k\.hdr: no such file")
    by_hand(tmp_path / "k.cfl", values(4, 4, 1, 2, 1, 3))
    refused("more than one image")

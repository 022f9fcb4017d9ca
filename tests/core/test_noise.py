"""Noise depends on the seed, the item and the step, and on nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.noise import KeyedNoise, KeyedUniform, key

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128]
items = st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=6)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@given(items=items, cut=st.integers(1, 5), seed=st.integers(0, 2**63 - 1), step=st.integers(0, 10**6))
def test_splitting_a_batch_does_not_change_its_noise(dtype, items, cut, seed, step):
    cut = min(cut, len(items) - 1)
    whole = KeyedNoise(seed, items)(step, (len(items), 2, 3), dtype)
    parts = [KeyedNoise(seed, part)(step, (len(part), 2, 3), dtype) for part in (items[:cut], items[cut:])]
    assert whole.dtype == dtype and torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("other", [(1, 5, 3), (0, 6, 3), (0, 5, 4), (5, 0, 3), (0, 3, 5)])
def test_another_seed_item_or_step_gives_other_noise(other: tuple[int, int, int]):
    first = KeyedNoise(0, [5])(3, (1, 4096), torch.float64)[0]
    second = KeyedNoise(other[0], [other[1]])(other[2], (1, 4096), torch.float64)[0]
    # The correlation of 4096 independent pairs has deviation 1/64: five of them.
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / 64


def test_the_same_call_gives_the_same_noise_whatever_was_drawn_before():
    noise = KeyedNoise(3, [0, 1])
    first = noise(0, (2, 5))
    torch.randn(100)
    noise(1, (2, 7))
    assert torch.equal(noise(0, (2, 5)), first)


def test_noise_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    wanted = torch.randn(3)
    torch.manual_seed(0)
    KeyedNoise(3, [0, 1])(0, (2, 5))
    assert torch.equal(torch.randn(3), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_noise_is_centred_with_unit_variance(dtype: torch.dtype):
    z = KeyedNoise(0, range(4))(0, (4, 100, 100), dtype)
    # Deviation of the mean 1/200, of the variance sqrt(2)/200 = 0.007: four of each.
    assert abs(complex(z.mean())) < 0.028 if dtype.is_complex else abs(float(z.mean())) < 0.02
    assert float(z.abs().square().mean()) == pytest.approx(1.0, abs=0.028)
    if dtype.is_complex:
        assert float(z.real.square().mean()) == pytest.approx(0.5, abs=0.014)
        assert float(z.imag.square().mean()) == pytest.approx(0.5, abs=0.014)
        assert abs(float((z.real * z.imag).mean())) < 0.01


def test_low_precision_noise_is_the_rounded_float32_noise():
    noise = KeyedNoise(0, range(2))
    assert torch.equal(noise(4, (2, 9), torch.bfloat16), noise(4, (2, 9)).bfloat16())


def test_rows_and_items_must_agree():
    with pytest.raises(AssertionError, match="3 rows, 2 items"):
        KeyedNoise(0, [0, 1])(0, (3, 2))


@given(st.sets(st.tuples(*[st.integers(0, 2**32 - 1)] * 3), min_size=2, max_size=20))
def test_different_keys_of_one_length_differ(parts):
    keys = {key(*part) for part in parts}
    assert len(keys) == len(parts) and all(0 <= k < 2**63 for k in keys)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError):
        KeyedNoise(-1, [0])(0, (1, 1))


keys = st.integers(0, 2**63 - 1)


@given(seed=keys, items=items, step=st.integers(0, 10**6), stream=st.integers(0, 9), padding=st.integers(0, 5))
def test_uniform_numbers_depend_on_neither_the_batch_nor_the_padding(seed, items, step, stream, padding):
    whole = KeyedUniform(seed, items)(step, (len(items), 3 + padding, 4), stream)
    part = KeyedUniform(seed, items[1:])(step, (len(items) - 1, 3, 4), stream)
    assert torch.equal(whole[1:, :3], part)
    assert torch.equal(KeyedUniform(seed, items)(step, (len(items), 3 + padding, 2), stream), whole[..., :2])


def test_uniform_numbers_are_splitmix64_of_their_key():
    def scramble(x: int) -> int:
        x &= 2**64 - 1
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    golden, state = 0x9E3779B97F4A7C15, 7
    for part in (2**62 + 5, 11, 3):
        state = scramble(state + golden * (part + 1))
    wanted = [((scramble(state + golden * place) >> 11) + 0.5) / 2**53 for place in (1, 2)]
    assert KeyedUniform(2**62 + 5, [7])(11, (1, 2), 3)[0].tolist() == wanted


def test_uniform_numbers_are_uniform_and_independent_of_those_of_other_keys():
    draws = [KeyedUniform(seed, range(2))(step, (2, 50, 40), stream).flatten()
             for seed, step, stream in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]  # fmt: skip
    for u in draws:
        grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
        assert float((u.sort().values - grid).abs().max()) < 1.95 / 4000**0.5  # Kolmogorov's 0.1 % quantile
        # Neighbours, in classes and in positions; five standard errors.
        assert abs(float(torch.corrcoef(torch.stack([u[:-1], u[1:]]))[0, 1])) < 5 / 4000**0.5
        assert abs(float(torch.corrcoef(torch.stack([u[:-40], u[40:]]))[0, 1])) < 5 / 4000**0.5
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(4, dtype=torch.float64)
    assert float(correlation.abs().max()) < 5 / 4000**0.5


def test_normal_numbers_have_unit_variance():
    z = KeyedUniform(0, range(4)).normal(2, (4, 100, 100))
    assert abs(float(z.mean())) < 0.02 and float(z.var()) == pytest.approx(1.0, abs=0.028)  # four standard errors

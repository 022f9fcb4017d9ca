"""Pairs stand once each, in an order that padding does not change, and come back symmetric."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.pairs import node_mask, pack, pair_count, pair_index, pair_mask, pair_nodes, unpack

sizes = st.integers(1, 12)


@given(sizes, st.integers(0, 2**31))
def test_packing_and_unpacking_a_symmetric_array_gives_it_back(n: int, seed: int):
    x = torch.randn(2, n, n, 3, generator=torch.Generator().manual_seed(seed))
    x = x + x.transpose(1, 2)
    x[:, range(n), range(n)] = 0
    assert pack(x).shape == (2, pair_count(n), 3)
    assert torch.equal(unpack(pack(x), n), x)


@given(sizes, sizes)
def test_more_nodes_leave_the_places_of_pairs_as_they_are(n: int, more: int):
    small, large = pair_nodes(n), pair_nodes(n + more)
    assert all(torch.equal(s, a[: len(s)]) for s, a in zip(small, large, strict=True))
    index = pair_index(n)
    assert torch.equal(index, index.T) and bool((index.diagonal() == pair_count(n)).all())
    assert torch.equal(index[small], torch.arange(pair_count(n)))


def test_a_pair_exists_where_both_nodes_do():
    mask = node_mask(torch.tensor([3, 1, 0]), 4)
    assert mask.sum(1).tolist() == [3, 1, 0]
    both = unpack(pair_mask(mask), 4)
    off = ~torch.eye(4, dtype=torch.bool)
    assert torch.equal(both, mask[:, :, None] & mask[:, None] & off)

"""Unordered pairs of nodes: the edges of an undirected graph, each kept once, so that whatever is done to them is symmetric."""

from functools import lru_cache

import torch
from torch import Tensor


def pair_count(nodes: int) -> int:
    """n (n - 1) / 2."""
    return nodes * (nodes - 1) // 2


@lru_cache(maxsize=256)
def pair_nodes(nodes: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """The first and the second node of every pair, each (pairs,), first < second; kept on each device.

    Pairs are ordered by their second node, (0, 1), (0, 2), (1, 2), (0, 3), ...: adding nodes adds pairs at the end, so that
    a pair's place does not depend on the padding.
    """
    second, first = torch.tril_indices(nodes, nodes, -1, device=device)
    return first, second


@lru_cache(maxsize=256)
def pair_index(nodes: int, device: torch.device | str = "cpu") -> Tensor:
    """The place of the pair of nodes i and j, (nodes, nodes); on the diagonal the number of pairs, one past the last."""
    first, second = pair_nodes(nodes, device)
    index = torch.full((nodes, nodes), pair_count(nodes), device=device)
    index[first, second] = index[second, first] = torch.arange(pair_count(nodes), device=device)
    return index


def pack(edges: Tensor) -> Tensor:
    """(batch, pairs, ...) of a symmetric (batch, n, n, ...), whose diagonal is not read."""
    first, second = pair_nodes(edges.shape[1], edges.device)
    return edges[:, first, second]


def unpack(pairs: Tensor, nodes: int) -> Tensor:
    """The symmetric (batch, n, n, ...) of (batch, pairs, ...), its diagonal 0."""
    assert pairs.shape[1] == pair_count(nodes), f"{pairs.shape[1]} pairs of {nodes} nodes"
    padded = torch.cat([pairs, pairs.new_zeros(len(pairs), 1, *pairs.shape[2:])], dim=1)
    index = pair_index(nodes, pairs.device)
    return padded.index_select(1, index.flatten()).unflatten(1, (nodes, nodes))


def pair_mask(mask: Tensor) -> Tensor:
    """Which pairs exist, bool (batch, pairs), of which nodes do, bool (batch, n)."""
    first, second = pair_nodes(mask.shape[1], mask.device)
    return mask[:, first] & mask[:, second]


def node_mask(sizes: Tensor, nodes: int) -> Tensor:
    """Which nodes exist, bool (batch, nodes), where item i has the first `sizes[i]` of them."""
    return torch.arange(nodes, device=sizes.device) < sizes[:, None]

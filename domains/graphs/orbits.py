"""How often each node takes each place in the connected graphs of up to four nodes: ORCA's counts, by linear algebra."""

import numpy as np

ORBITS = 15


def orbit_counts(adjacency: np.ndarray) -> np.ndarray:
    """The counts of a simple graph's nodes in the 15 orbits of induced subgraphs of two to four nodes.

    Orbits are numbered as in the literature: 0 edge; 1, 2 end and middle of a path of three; 3 triangle; 4, 5 end and
    middle of a path of four; 6, 7 leaf and centre of a star; 8 cycle of four; 9, 10, 11 a triangle with a tail: the
    tail's end, a corner without it, the corner with it; 12, 13 the corners of degree two and three of a cycle with a
    chord; 14 the complete graph. Every (not necessarily induced) subgraph is counted through powers of the adjacency
    matrix and triangles on edges; what belongs to denser graphs is then taken off, the densest first.

    Args:
        adjacency: symmetric (nodes, nodes) of 0 and 1, zero diagonal.

    Returns:
        int64 (nodes, 15).

    Source: the orbits of Przulj (2007), Biological network comparison using graphlet degree distribution; the idea of
    counting by equations from Hocevar and Demsar (2014), A combinatorial approach to graphlet counting (ORCA).
    """
    a = np.asarray(adjacency, np.float64)  # float64 multiplies fast and holds whole numbers below 2^53 exactly
    assert a.ndim == 2 and a.shape[0] == a.shape[1], f"adjacency of shape {a.shape}"
    degree = a.sum(1)
    common = a @ a  # common neighbours; the diagonal is not asked for
    on_edge = a * common  # triangles on each edge
    triangles = on_edge.sum(1) / 2
    others = common - np.diag(np.diag(common))

    beyond = a @ (degree - 1)  # walks of two edges that do not turn back
    stars = degree * (degree - 1) * (degree - 2) / 6
    leaves = a @ ((degree - 1) * (degree - 2) / 2)
    ends = a @ beyond - degree * (degree - 1) - 2 * triangles
    middles = (degree - 1) * beyond - 2 * triangles
    cycles = (others * (others - 1)).sum(1) / 2
    tails = a @ triangles - on_edge.sum(1)
    corners = on_edge @ (degree - 2)
    carriers = triangles * (degree - 2)
    chordless = ((a @ (on_edge - a)) * a).sum(1) / 2
    chorded = (on_edge * (on_edge - 1)).sum(1) / 2
    complete = _complete(a)

    o = np.zeros((len(a), ORBITS))
    o[:, 14] = complete
    o[:, 13] = chorded - 3 * complete
    o[:, 12] = chordless - 3 * complete
    o[:, 11] = carriers - 2 * o[:, 13] - 3 * complete
    o[:, 10] = corners - 2 * o[:, 12] - 2 * o[:, 13] - 6 * complete
    o[:, 9] = tails - 2 * o[:, 12] - 3 * complete
    o[:, 8] = cycles - o[:, 12] - o[:, 13] - 3 * complete
    o[:, 7] = stars - o[:, 11] - o[:, 13] - complete
    o[:, 6] = leaves - o[:, 9] - o[:, 10] - 2 * o[:, 12] - o[:, 13] - 3 * complete
    o[:, 5] = middles - 2 * o[:, 8] - o[:, 10] - 2 * o[:, 11] - 2 * o[:, 12] - 4 * o[:, 13] - 6 * complete
    o[:, 4] = ends - 2 * o[:, 8] - 2 * o[:, 9] - o[:, 10] - 4 * o[:, 12] - 2 * o[:, 13] - 6 * complete
    o[:, 3] = triangles
    o[:, 2] = degree * (degree - 1) / 2 - triangles
    o[:, 1] = beyond - 2 * triangles
    o[:, 0] = degree
    return np.rint(o).astype(np.int64)


def _complete(a: np.ndarray) -> np.ndarray:
    """Complete graphs of four nodes at each node: edges among the common neighbours of the ends of its edges."""
    i, j = np.nonzero(np.triu(a, 1))
    both = a[i] * a[j]
    on_edge = ((both @ a) * both).sum(1) / 2
    return (np.bincount(i, on_edge, len(a)) + np.bincount(j, on_edge, len(a))) / 3

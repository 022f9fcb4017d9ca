"""A graph transformer: nodes attend to each other as their edges say, and edges are updated with them."""

from typing import Any

import torch
from torch import Tensor, nn

from ornstein.core.networks.embedding import NoiseEmbedding
from ornstein.core.pairs import pair_count, pair_mask, pair_nodes, unpack


class GraphBlock(nn.Module):
    """One layer: messages to the nodes, then to the edges, then a perceptron on each.

        h_i <- h_i + g1 W [sum_j softmax_j(q_i . k_j + b(e_ij)) v_j,  sum_j m(e_ij) / sqrt(n)]
        e_ij <- e_ij + g2 W [u_i + u_j,  p_i p_j,  sum_k (A_ik B_kj + B_ik A_kj) / sqrt(n)]
        h, e <- h + g3 MLP(h), e + g4 MLP(e)

    where all inputs are normalised, and scaled and shifted by the condition, which also makes the gates g; these are zero at
    initialisation. The plain sum of messages tells a node its valency, which a softmax cannot; the product of the matrices
    A and B, linear in the edges, tells an edge of paths and cycles through it.

    Source: Vignac et al. (2022), DiGress, arXiv:2209.14734, appendix B; the bias of attention: Hussain et al. (2022), arXiv:2108.03348;
    the product: Maron et al. (2019), Provably powerful graph networks, arXiv:1905.11136.
    """

    def __init__(self, width: int, edge_width: int, heads: int, condition: int, product: int, expansion: float) -> None:
        super().__init__()
        self.heads, self.product = heads, product
        self.node_norm1, self.node_norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.edge_norm1, self.edge_norm2 = (nn.LayerNorm(edge_width, elementwise_affine=False) for _ in range(2))
        self.modulation = nn.Linear(condition, 6 * width + 6 * edge_width)
        self.sizes = [width] * 6 + [edge_width] * 6
        self.qkv = nn.Linear(width, 3 * width)
        self.from_edges = nn.Linear(edge_width, heads + 2 * product + edge_width)
        self.node_out = nn.Linear(width + edge_width, width)
        self.from_nodes = nn.Linear(width, 2 * edge_width)
        self.edge_out = nn.Linear(2 * edge_width + product, edge_width)
        self.node_perceptron = _perceptron(width, expansion)
        self.edge_perceptron = _perceptron(edge_width, expansion)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, h: Tensor, e: Tensor, condition: Tensor, allowed: Tensor, present: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """h (batch, n, width), e (batch, pairs, edge width); allowed: 0 or -inf, (batch, 1, 1, n); present (batch, pairs, 1);
        scale: 1 / sqrt(an item's nodes), (batch, 1, 1, 1)."""
        n = h.shape[1]
        c = self.modulation(condition)[:, None].split(self.sizes, dim=-1)
        x = torch.addcmul(c[1], self.node_norm1(h), 1 + c[0])
        y = torch.addcmul(c[7], self.edge_norm1(e), 1 + c[6]) * present
        # Absent pairs are zero, so that they neither count in sums nor in products.
        parts = [self.heads, self.product, self.product, e.shape[-1]]
        square = unpack(self.from_edges(y) * present, n)  # (batch, n, n, all that edges say)
        bias, left, right, message = square.split(parts, dim=-1)
        attended = self._attend(x, bias.permute(0, 3, 1, 2) + allowed)
        to_nodes = torch.cat([attended, message.sum(2) * scale[:, 0]], dim=-1)
        h = h + c[2] * self.node_out(to_nodes)

        first, second = pair_nodes(n, h.device)
        u, p = self.from_nodes(x).chunk(2, dim=-1)
        ends = [
            u.index_select(1, first) + u.index_select(1, second),
            p.index_select(1, first) * p.index_select(1, second),
        ]
        paths = left.permute(0, 3, 1, 2) @ right.permute(0, 3, 1, 2)
        paths = ((paths + paths.transpose(2, 3)) * scale)[:, :, first, second].transpose(1, 2)
        e = e + c[8] * self.edge_out(torch.cat([*ends, paths], dim=-1))

        h = h + c[5] * self.node_perceptron(torch.addcmul(c[4], self.node_norm2(h), 1 + c[3]))
        return h, e + c[11] * self.edge_perceptron(torch.addcmul(c[10], self.edge_norm2(e), 1 + c[9]))

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attention with a bias (batch, heads, n, n), -inf where nothing is read.

        Written out: graphs are small, and the fused kernels take two to three times as long on them.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        score = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5 + bias.float()
        weight = (score - score.amax(-1, keepdim=True)).exp()
        weight = weight / weight.sum(-1, keepdim=True)
        return (weight.to(v.dtype) @ v).transpose(1, 2).flatten(2)


class GraphTransformer(nn.Module):
    """A network on graphs: permuting the nodes of its input permutes its output.

    Edges are kept once for each pair (`core/pairs.py`), which makes them symmetric and halves their work.

    Args:
        node_inputs, edge_inputs: channels of the nodes and of the pairs; at least 1.
        node_outputs, edge_outputs: channels of the output; 0 of nodes leaves them out.
        conditions: channels of what holds for a whole graph, at least 0.
        width, edge_width: channels inside; `heads` divides the width.
        depth: blocks.
        heads: attention heads.
        product: channels of the product of edge matrices, at least 1; its cost is n^3.
        embedding: width of the condition.
        expansion: hidden width of the perceptrons, in widths.

    Calling it: nodes (batch, n, node inputs), edges (batch, pairs, edge inputs), noise_label (batch,), mask bool (batch, n), true
    where a node is, and `conditions` (batch, conditions) give the nodes' and the pairs' outputs; padding is
    never read and comes out 0.

    Source: Vignac et al. (2022), DiGress, arXiv:2209.14734, appendix B.
    """

    def __init__(
        self,
        node_inputs: int,
        edge_inputs: int,
        node_outputs: int,
        edge_outputs: int,
        conditions: int = 0,
        width: int = 128,
        edge_width: int = 32,
        depth: int = 6,
        heads: int = 8,
        product: int = 8,
        embedding: int = 64,
        expansion: float = 2.0,
    ) -> None:
        super().__init__()
        assert width % heads == 0, f"width {width} is not divided by {heads} heads"
        assert min(node_inputs, edge_inputs, edge_outputs, product) >= 1, "no inputs, no edges or no product"
        self.settings: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.embedding = NoiseEmbedding(embedding)
        self.condition = nn.Linear(conditions, embedding) if conditions else None
        self.first_nodes = nn.Linear(node_inputs, width)
        self.first_edges = nn.Linear(edge_inputs, edge_width)
        self.blocks = nn.ModuleList(
            [GraphBlock(width, edge_width, heads, embedding, product, expansion) for _ in range(depth)]
        )
        self.last_nodes = _readout(width, node_outputs) if node_outputs else None
        self.last_edges = _readout(edge_width, edge_outputs)
        self.last_ends = _readout(width, edge_outputs)

    def forward(
        self, nodes: Tensor, edges: Tensor, noise_label: Tensor, mask: Tensor, conditions: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        n = nodes.shape[1]
        assert mask.shape == nodes.shape[:2], f"mask {tuple(mask.shape)}, nodes {tuple(nodes.shape)}"
        assert edges.shape[1] == pair_count(n), f"{edges.shape[1]} pairs of {n} nodes"
        assert (conditions is None) == (self.condition is None), "conditions are given where the network has them"
        both = pair_mask(mask)[..., None]
        condition = self.embedding(noise_label)
        if self.condition is not None:
            condition = condition + self.condition(conditions)
        # A graph without nodes attends to its padding, as a softmax over nothing is not a number.
        readable = mask | ~mask.any(1, keepdim=True)
        allowed = torch.zeros(mask.shape, device=nodes.device).masked_fill(~readable, -torch.inf)[:, None, None]
        h = self.first_nodes(nodes.masked_fill(~mask[..., None], 0))
        e = self.first_edges(edges.masked_fill(~both, 0))
        present = both.to(e.dtype)
        scale = mask.sum(1).clamp_min(1).to(e.dtype).rsqrt()[:, None, None, None]
        for block in self.blocks:
            h, e = block(h, e, condition, allowed, present, scale)
        out = None if self.last_nodes is None else self.last_nodes(h).masked_fill(~mask[..., None], 0)
        first, second = pair_nodes(n, h.device)
        ends = self.last_ends(h)
        edges = self.last_edges(e) + ends.index_select(1, first) + ends.index_select(1, second)
        return out, edges.masked_fill(~both, 0)


def walk_features(adjacency: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """What walks say of a graph: of nodes (batch, n, steps + 3), of pairs (batch, pairs, steps).

    Pairs: S^k, k = 1 to `steps`, of S = D^-1/2 A D^-1/2, which are the probabilities of random walks made symmetric. Nodes: the diagonals
    of the same, k = 2 to `steps`, that is probabilities of return; a tenth of the degree; and how many cycles
    of 3, 4 and 5 nodes pass through the node, as log(1 + count).

    Args:
        adjacency: 0 or 1, symmetric, diagonal 0, (batch, n, n).
        steps: at least 2.

    Source: Ma et al. (2023), Graph inductive biases in transformers without message passing, arXiv:2305.17589 (random walks, here
    symmetric); the cycle counts: Vignac et al. (2022), DiGress, arXiv:2209.14734, appendix B.
    """
    assert steps >= 2, f"walks of {steps} steps"
    a = adjacency.float()
    n = a.shape[-1]
    degree = a.sum(-1)
    scale = degree.clamp_min(1).rsqrt()
    s = a * scale[:, :, None] * scale[:, None]
    powers = [s]
    for _ in range(steps - 1):
        powers.append(powers[-1] @ s)
    stacked = torch.stack(powers, dim=-1)
    first, second = pair_nodes(n, a.device)
    a2 = a @ a
    a3 = a2 @ a
    triangles = a3.diagonal(dim1=1, dim2=2)
    # Closed walks of 4 and 5 steps, less those that retrace an edge (by inclusion and exclusion).
    fours = (a2 * a2).sum(-1) - degree * (degree - 1) - (a @ degree[..., None])[..., 0]
    fives = (a2 * a3).sum(-1) - 2 * triangles * degree - ((2 * a * a2) @ degree[..., None])[..., 0]
    fives = fives - (a @ triangles[..., None])[..., 0] + 5 * triangles
    cycles = torch.stack([triangles, fours, fives], dim=-1) / 2
    returns = stacked.diagonal(dim1=1, dim2=2).transpose(1, 2)[..., 1:]
    nodes = torch.cat([returns, degree[..., None] / 10, torch.log1p(cycles.clamp_min(0))], dim=-1)
    return nodes, stacked[:, first, second]


def _perceptron(width: int, expansion: float) -> nn.Sequential:
    hidden = round(expansion * width)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def _readout(width: int, channels: int) -> nn.Sequential:
    last = nn.Linear(width, channels)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width), last)

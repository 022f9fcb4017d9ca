"""A graph transformer of discrete states: what the noisy graph says of itself in, logits of the data out."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ornstein.core.networks.graph import GraphTransformer, walk_features
from ornstein.core.pairs import unpack


class GraphStateNetwork(nn.Module):
    """The network of a joint state of node types and edge types, or of edge types alone.

    It sees the types, the walks and the cycles of the noisy graph (`walk_features`), how many edges of each type a node has
    (its valency), the graph's composition and its size, and the time. Edge type 0 is no edge; a type past `edge_classes`
    is the mask.

    Args:
        node_states, node_classes: values of noisy node types and of data; both 0 where nodes have none.
        edge_states, edge_classes: the same of edges.
        conditions: channels of what is known of a graph besides, at least 0.
        walks: steps of the random walks, at least 2.
        transformer: further settings of `GraphTransformer`: width, edge_width, depth, heads, product, embedding, expansion.

    Calling it: x by name int64, `edges` (batch, pairs) and, where there are types, `nodes` (batch, n); t (batch,); masks by name,
    always of both; `conditions` (batch, conditions). Gives logits by name, (batch, positions, classes).
    """

    def __init__(
        self,
        node_states: int,
        node_classes: int,
        edge_states: int,
        edge_classes: int,
        conditions: int = 0,
        walks: int = 10,
        **transformer: Any,
    ) -> None:
        super().__init__()
        self.node_states, self.edge_states, self.edge_classes = node_states, edge_states, edge_classes
        self.walks = walks
        self.transformer = GraphTransformer(
            node_states + edge_states + walks + 3,
            edge_states + walks,
            node_classes,
            edge_classes,
            conditions=node_states + edge_states + 1 + conditions,
            **transformer,
        )

    def forward(
        self, x: Mapping[str, Tensor], t: Tensor, masks: Mapping[str, Tensor], conditions: Tensor | None = None
    ) -> dict[str, Tensor]:
        present, both = masks["nodes"], masks["edges"]
        n = present.shape[1]
        with torch.autocast(present.device.type, enabled=False):
            edges = F.one_hot(x["edges"], self.edge_states).float() * both[..., None]
            bonded = (x["edges"] > 0) & (x["edges"] < self.edge_classes) & both
            walks, paths = walk_features(unpack(bonded.float(), n), self.walks)
            counts = unpack(edges, n).sum(2)
            parts, size = [counts, walks], present.sum(1, keepdim=True).clamp_min(1).float()
            composition = [counts.sum(1) / size]
            if self.node_states:
                nodes = F.one_hot(x["nodes"], self.node_states).float() * present[..., None]
                parts, composition = [nodes, *parts], [nodes.sum(1) / size, *composition]
            whole = torch.cat([*composition, size.log(), *([] if conditions is None else [conditions.float()])], dim=1)
            # No edge is what most counts count: the others would be lost beside it.
            whole = torch.log1p(whole)
        seen = torch.cat(parts, dim=-1)
        out = self.transformer(seen, torch.cat([edges, paths], dim=-1), t.float(), present, whole)
        return {name: value for name, value in zip(("nodes", "edges"), out, strict=True) if value is not None}

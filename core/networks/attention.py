"""Scaled dot-product attention, by the kernel that is fast where it runs."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(width)) v, in the type of v.

    Args:
        q, k, v: (batch, heads, tokens, width).
        allowed: bool, broadcasts to (batch, heads, tokens, tokens): which keys a query sees; all where it is not given.

    Source: Vaswani et al. (2017), Attention is all you need, arXiv:1706.03762, eq. 1.
    """
    kind = v.dtype
    if q.device.type == "cpu" and kind == torch.bfloat16 and torch.is_grad_enabled():
        # On a CPU the backward pass of PyTorch 2.11 is several times slower in bfloat16 than in float32.
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=allowed).to(kind)
    return F.scaled_dot_product_attention(q.to(kind), k.to(kind), v, attn_mask=allowed)

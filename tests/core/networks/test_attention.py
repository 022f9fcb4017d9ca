"""Attention is its formula, forward and backward, in every type and with keys left out."""

import pytest
import torch

from ornstein.core.networks.attention import attention


def by_formula(q, k, v, allowed):
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1) @ v


@pytest.mark.parametrize("kind, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_its_gradients_are_those_of_the_formula(kind, tolerance, masked):
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(3, 2, 9, 8, generator=generator).to(kind) for _ in range(4)]
    allowed = torch.rand(3, 1, 1, 9, generator=generator) < 0.7 if masked else None
    found, exact = [], []
    for cast, made, function in ((kind, found, attention), (torch.float64, exact, by_formula)):
        q, k, v, g = (x.to(cast).requires_grad_() for x in drawn)
        with torch.autocast("cpu", torch.bfloat16, enabled=cast == torch.bfloat16):
            out = function(q, k, v, allowed)
        assert out.dtype == cast
        made += [out, *torch.autograd.grad(out, (q, k, v), g)]
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a.double(), b, atol=tolerance, rtol=tolerance)


def test_without_gradients_it_is_the_same():
    q, k, v = torch.randn(3, 1, 2, 5, 8, generator=torch.Generator().manual_seed(1)).bfloat16().unbind(0)
    with torch.no_grad():
        plain = attention(q, k, v)
    torch.testing.assert_close(plain, attention(q, k, v), atol=0.02, rtol=0.02)

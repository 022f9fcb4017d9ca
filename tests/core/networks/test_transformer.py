"""The transformer keeps shapes, treats tokens as a set where told so, and knows positions by their differences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.networks.transformer import Transformer, TransformerBlock, rotate, rotations
from ornstein.core.paths import RectifiedFlow


def awake(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every weight drawn, those that start at zero included."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan_in = parameter.shape[1] if parameter.ndim > 1 else 1
        nn.init.normal_(parameter, std=fan_in**-0.5, generator=generator)
    return network.eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(dims: int, **settings) -> Transformer:
    return Transformer(dims, **{"width": 24, "depth": 2, "heads": 2, "embedding": 16, **settings})


@pytest.mark.parametrize("patch", [1, 2, 3])
@pytest.mark.parametrize("space", [(16,), (7,), (1,), (8, 6), (5, 7), (4, 6, 5)])
def test_output_has_the_shape_of_x_for_any_size(space: tuple[int, ...], patch: int):
    network = awake(small(len(space), in_channels=2, out_channels=3, patch=patch))
    output = network(noise(2, 2, *space), torch.tensor([-1.0, 0.5]))
    assert output.shape == (2, 3, *space)
    assert bool(output.isfinite().all()) and bool(output.std() > 0)


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
def test_output_is_zero_and_every_block_the_identity_at_initialisation(dims: int):
    network = small(dims, in_channels=4, out_channels=4)
    x = noise(2, 4, *[4] * max(dims, 1))
    assert not network(x, torch.zeros(2)).any()
    h = noise(2, 5, 24)
    for block in network.blocks:
        assert torch.equal(block(h, network.embedding(torch.ones(2)), None, None), h)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 9))
def test_without_positions_permuting_the_tokens_permutes_the_output(seed: int, count: int):
    network = awake(small(0, in_channels=3, out_channels=3, positions=False))
    x, label = noise(2, count, 3, seed=seed), noise(2, seed=seed + 1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    # float32: the sums of the attention run in another order
    torch.testing.assert_close(network(x[:, order], label), network(x, label)[:, order], rtol=1e-4, atol=1e-5)


def test_with_positions_the_order_of_the_tokens_matters():
    network = awake(small(0, in_channels=3, out_channels=3, positions=True))
    x, label = noise(2, 6, 3), torch.zeros(2)
    assert float((network(x.flip(1), label) - network(x, label).flip(1)).abs().max()) > 0.01


def test_tokens_outside_the_mask_are_never_read_and_come_out_zero():
    network = awake(small(0, in_channels=3, out_channels=3))
    x, label = noise(3, 6, 3), torch.tensor([-1.0, 0.0, 1.0])
    mask = torch.arange(6) < torch.tensor([[6], [4], [0]])  # full, part, and an item without any token
    filled = x.masked_fill(~mask[..., None], torch.nan)
    output = network(filled, label, mask=mask)
    assert bool(output.isfinite().all()) and not output[~mask].any()
    alone = network(x[1:2, :4], label[1:2])
    torch.testing.assert_close(output[1:2, :4], alone, rtol=1e-4, atol=1e-5)


@given(shift=st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_products_of_rotated_vectors_depend_on_differences_of_positions(shift: tuple[int, int]):
    grid = (24, 24)
    cosine, sine = (v.double() for v in rotations(grid, 16, 64.0))
    q, k = noise(16).double(), noise(16, seed=1).double()

    def product(first: tuple[int, int], second: tuple[int, int]) -> float:
        i, j = first[0] * 24 + first[1], second[0] * 24 + second[1]
        return float(rotate(q, cosine[i], sine[i]) @ rotate(k, cosine[j], sine[j]))

    moved = product((1 + shift[0], 3 + shift[1]), (2 + shift[0], shift[1]))
    assert moved == pytest.approx(product((1, 3), (2, 0)), abs=1e-5)  # angles in float32
    assert moved != pytest.approx(product((1, 3), (3, 0)), abs=1e-2)


def test_an_object_of_a_larger_field_is_seen_as_in_the_smaller():
    """With what surrounds it masked, a sequence far along is treated as at the start: positions are differences."""
    network = awake(small(0, in_channels=3, out_channels=3))
    x, label = noise(1, 5, 3), torch.zeros(1)
    longer, mask = torch.zeros(1, 80, 3), torch.zeros(1, 80, dtype=torch.bool)
    longer[:, 70:75], mask[:, 70:75] = x, True
    torch.testing.assert_close(
        network(longer, label, mask=mask)[:, 70:75], network(x, label), rtol=1e-3, atol=1e-4
    )  # float32 angles of 70 tokens


def test_a_larger_grid_holds_the_angles_of_the_smaller():
    for dims in (1, 2, 3):
        small_grid, large_grid = (3, 4, 2)[:dims], (5, 4, 6)[:dims]
        part, whole = (rotations(grid, 24, 256.0)[0].reshape(*grid, 12) for grid in (small_grid, large_grid))
        assert torch.equal(whole[tuple(slice(n) for n in small_grid)], part)


def test_attention_matches_its_definition():
    block = awake(TransformerBlock(12, heads=2, embedding=8, expansion=2.0, dropout=0.0))
    h = noise(2, 5, 12)
    q, k, v = block.qkv(h).reshape(2, 5, 3, 2, 6).permute(2, 0, 3, 1, 4)

    def unit(x: Tensor, gain: Tensor) -> Tensor:
        return gain * x / (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()

    q, k = unit(q, block.query_norm.weight), unit(k, block.key_norm.weight)
    weights = torch.softmax(q @ k.transpose(-1, -2) / 6**0.5, dim=-1)
    wanted = block.out((weights @ v).transpose(1, 2).reshape(2, 5, 12))
    torch.testing.assert_close(block._attend(h, None, None), wanted, rtol=1e-5, atol=1e-5)


def test_features_are_joined_to_x():
    label = torch.zeros(2)
    pictures = awake(small(2, in_channels=3, out_channels=1, patch=2))
    x, features = noise(2, 1, 6, 6), noise(2, 2, 6, 6, seed=1)
    assert torch.equal(pictures(x, label, features=features), pictures(torch.cat([x, features], 1), label))
    tokens = awake(small(0, in_channels=3, out_channels=1))
    x, features = noise(2, 6, 1), noise(2, 6, 2, seed=1)
    assert torch.equal(tokens(x, label, features=features), tokens(torch.cat([x, features], 2), label))


def test_bfloat16_autocast_is_finite_and_near_float32():
    network = awake(small(2, in_channels=2, out_channels=2, patch=2))
    x, label = 50 * noise(2, 2, 12, 12), torch.tensor([-2.0, 1.0])
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x, label)
    exact = network(x, label)
    assert bool(low.isfinite().all())
    assert float((low - exact).norm() / exact.norm()) < 0.1  # 8 bits, and some ten layers that add up


def test_a_denoiser_of_tokens_passes_the_mask_and_learns():
    torch.manual_seed(0)
    denoiser = NetworkDenoiser(small(0, in_channels=2, out_channels=2, positions=False), RectifiedFlow(), "data")
    x0 = torch.tensor([[1.0, -1.0], [1.0, -1.0], [9.0, 9.0]]).expand(8, 3, 2)
    mask = torch.tensor([True, True, False]).expand(8, 3)
    optimiser = torch.optim.Adam(denoiser.parameters(), 3e-3)
    t = torch.linspace(0.2, 1.0, 8, dtype=torch.float64)
    losses = []
    for step in range(40):
        x_t = denoiser.path.mix(x0, noise(8, 3, 2, seed=step), t)
        loss = (denoiser(x_t, t, mask=mask) - x0)[mask].square().mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[0] == pytest.approx(1.0)  # the output is zero, the data of unit scale
    assert losses[-1] < 0.1


def test_settings_rebuild_the_network():
    network = small(2, in_channels=2, out_channels=3, patch=2, longest=50.0, expansion=2.0, dropout=0.1)
    again = Transformer(**network.settings)
    assert again.settings == network.settings
    assert [p.shape for p in again.parameters()] == [p.shape for p in network.parameters()]


@pytest.mark.parametrize(
    "settings", [{"dims": 0, "patch": 2}, {"dims": 2, "positions": False}, {"dims": 2, "heads": 5}, {"dims": 4}]
)
def test_contradictory_settings_are_refused(settings: dict):
    with pytest.raises(AssertionError):
        small(**settings)

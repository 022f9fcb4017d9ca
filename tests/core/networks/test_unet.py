"""The U-Net keeps shapes in any dimension, sees no positions, and starts from zero."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ornstein.core.networks.patches import crop, fold, pad, unfold
from ornstein.core.networks.unet import Attention, UNet


def awake(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every weight drawn, those that start at zero included."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        nn.init.normal_(parameter, std=0.5 * fan_in**-0.5, generator=generator)
    return network.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("space", [(64,), (37,), (1,), (16, 24), (17, 23), (3, 5), (8, 8, 8), (5, 9, 7)])
def test_output_has_the_shape_of_x_for_any_size(space: tuple[int, ...], patch: int):
    network = awake(UNet(len(space), 2, 3, (8, 16), blocks=1, groups=4, patch=patch, attention=(1,), heads=2))
    output = network(noise(2, 2, *space), torch.tensor([-1.0, 0.5]))
    assert output.shape == (2, 3, *space)
    assert bool(output.isfinite().all()) and bool(output.std() > 0)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_output_is_zero_at_initialisation(dims: int):
    network = UNet(dims, channels=(8, 16), blocks=1, attention=(0, 1), heads=2)
    assert not network(noise(2, 1, *[8] * dims), torch.zeros(2)).any()


@pytest.mark.parametrize(
    ("dims", "size", "shift", "patch"), [(1, 512, 8, 1), (1, 512, 16, 2), (2, 128, 8, 1), (2, 208, 8, 2)]
)
def test_translation_by_the_multiple_shifts_the_output(dims: int, size: int, shift: int, patch: int):
    levels = (8, 8, 8) if dims == 1 else (8, 8)
    network = awake(UNet(dims, channels=levels, blocks=1, patch=patch)).double()
    assert shift % network.multiple == 0
    x, middle = torch.zeros(1, 1, *[size] * dims, dtype=torch.float64), size // 2 - 4
    x[(..., *[slice(middle, middle + 8)] * dims)] = noise(1, 1, *[8] * dims)
    axes = tuple(range(2, 2 + dims))
    label = torch.zeros(1)
    with torch.no_grad():
        y, moved = network(x, label), network(x.roll([shift] * dims, axes), label)
    # The field is wide enough that no output sees both the object and an edge: edges look alike in both fields (also
    # to the group norms), and the inside is compared.
    inside = (..., *[slice(size // 4 + shift, size - size // 4 - shift)] * dims)
    error = (moved - y.roll([shift] * dims, axes))[inside].abs().max()
    assert float(y[inside].std()) > 0.01
    assert float(error) < 1e-9 * float(y.abs().max())  # the group norms of a nearly empty field amplify rounding


def test_translation_by_less_than_the_multiple_is_seen():
    network = awake(UNet(1, channels=(8, 8), blocks=1))
    x = torch.zeros(1, 1, 256)
    x[..., 124:132] = noise(1, 1, 8)
    with torch.no_grad():
        error = network(x.roll(1, 2), torch.zeros(1)) - network(x, torch.zeros(1)).roll(1, 2)
    assert float(error[..., 64:192].abs().max()) > 0.01


def test_features_are_joined_to_x_and_change_the_output():
    network = awake(UNet(2, in_channels=3, out_channels=1, channels=(8, 16), blocks=1))
    x, features, label = noise(2, 1, 12, 12), noise(2, 2, 12, 12, seed=1), torch.zeros(2)
    joined = network(torch.cat([x, features], dim=1), label)
    assert torch.equal(network(x, label, features=features), joined)
    assert not torch.allclose(network(x, label, features=-features), joined)


def test_items_of_a_batch_do_not_see_each_other():
    network = awake(UNet(2, channels=(8, 16), blocks=1, attention=(1,), heads=2))
    x, label = noise(3, 1, 16, 16), torch.tensor([-2.0, 0.0, 1.0])
    with torch.no_grad():
        whole = network(x, label)
        alone = torch.cat([network(x[i : i + 1], label[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, alone, rtol=1e-5, atol=1e-5)  # float32, another blocking of the sums
    assert not torch.allclose(whole, network(x, label.flip(0)))  # and the noise level is seen


def test_bfloat16_autocast_is_finite_and_near_float32():
    network = awake(UNet(2, channels=(16, 32), blocks=1, attention=(1,)))
    x, label = 50 * noise(2, 1, 24, 24), torch.tensor([-2.0, 1.0])
    exact = network(x, label).detach()
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x, label)
    low.float().square().mean().backward()
    assert low.dtype == torch.bfloat16
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)
    # bfloat16 has 8 bits; some ten layers add up.
    assert float((low.detach() - exact).norm() / exact.norm()) < 0.05


def test_attention_matches_its_definition():
    layer = awake(Attention(2, channels=8, heads=2, groups=4))
    x = noise(2, 8, 3, 5)
    qkv = layer.qkv(layer.norm(x)).reshape(2, 3, 2, 4, 15)
    q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]
    weights = torch.softmax(torch.einsum("bhci,bhcj->bhij", q, k) / 4**0.5, dim=-1)
    wanted = x + layer.out(torch.einsum("bhij,bhcj->bhci", weights, v).reshape(2, 8, 3, 5))
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)


def test_settings_rebuild_the_network():
    network = UNet(1, 2, 3, (8, 16), blocks=1, attention=(1,), heads=2, embedding=32, groups=4, patch=2, dropout=0.1)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in UNet(**network.settings).state_dict().items()}
    assert UNet(**network.settings).settings == network.settings


@given(dims=st.integers(1, 3), patch=st.integers(1, 4), sides=st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_unfold_inverts_fold(dims: int, patch: int, sides: list[int]):
    x = noise(2, 3, *[n * patch for n in sides[:dims]])
    folded = fold(x, patch)
    assert folded.shape == (2, 3 * patch**dims, *sides[:dims])
    assert torch.equal(unfold(folded, patch), x)


def test_a_fold_holds_the_pixels_of_its_block():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert fold(x, 2)[0, :, 1, 0].tolist() == [8, 9, 12, 13]


@given(multiple=st.integers(1, 9), sides=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_padding_reaches_the_multiple_and_crop_undoes_it(multiple: int, sides: list[int]):
    x = noise(1, 2, *sides)
    padded = pad(x, multiple)
    assert all(n % multiple == 0 and 0 <= n - m < multiple for n, m in zip(padded.shape[2:], sides, strict=True))
    assert torch.equal(crop(padded, sides), x)

# SPDX-License-Identifier: Apache-2.0
"""octavo.torch's linear layer: numbers, dtypes, gradients, state, tracing."""

from __future__ import annotations

import numpy as np
import pytest

import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")


def layers(n: int = 40, k: int = 70, bias: bool = True, **options: bool):
    """A float layer, its int8 twin in torch, and the same in NumPy."""
    plain = torch.nn.Linear(k, n, bias=bias)
    twin = ot.Linear.from_float(plain, **options)
    weight = plain.weight.detach().numpy()
    biases = plain.bias.detach().numpy() if bias else None
    return plain, twin, octavo.Linear.from_float(weight, biases, **options)


def arguments(layer: ot.Linear) -> tuple[list[torch.Tensor], torch.Tensor | None, str]:
    """What a graph hands to the operator after `x`."""
    return [layer.packed, layer.weight_scale], layer.bias, layer._weight.text


def model() -> torch.nn.Module:
    made = torch.nn.Sequential(
        torch.nn.Linear(192, 256), torch.nn.GELU(), torch.nn.Linear(256, 192, bias=False)
    )
    assert len(ot.quantize_(made).converted) == 2
    return made.eval()


@pytest.mark.parametrize("shape", [(70,), (1, 70), (3, 70), (2, 5, 70), (0, 70), (2, 0, 70)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_equals_the_numpy_layer(shape, bias, symmetric) -> None:
    _, twin, reference = layers(bias=bias, symmetric=symmetric)
    x = torch.randn(shape)
    y = twin(x)
    assert y.dtype == torch.float32
    np.testing.assert_array_equal(y.numpy(), reference(x.numpy()))
    through_operator = torch.ops.octavo.linear(x, *arguments(twin))
    assert torch.equal(through_operator, y)


def test_every_tier(isa) -> None:
    _, twin, reference = layers()
    x = torch.randn(9, 70)
    np.testing.assert_array_equal(twin(x).numpy(), reference(x.numpy()))
    parts = {"packed": twin.packed.numpy(), "weight_scale": twin.weight_scale.numpy()}
    weight = octavo.nn.weights.Int8Weight.from_parts(parts, (40, 70))
    np.testing.assert_array_equal(weight.codes, reference.weight_codes)


def test_weight_is_within_half_a_step() -> None:
    plain, twin, _ = layers()
    # The rounding of codes is half a scale, that of the product a unit in the last place.
    bound = twin.weight_scale[:, None] * 0.5 * (1 + 2**-10)
    assert ((twin.weight - plain.weight).abs() <= bound).all()


def test_state_dict_round_trip_is_strict() -> None:
    first, second = model(), model()
    state = first.state_dict()
    assert {key: (value.dtype, tuple(value.shape)) for key, value in state.items()} == {
        "0.weight": (torch.int8, (256, 192)),
        "0.weight_scale": (torch.float32, (256, 1)),
        "0.bias": (torch.float32, (256,)),
        "2.weight": (torch.int8, (192, 256)),
        "2.weight_scale": (torch.float32, (192, 1)),
    }
    x = torch.randn(4, 192)
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(state)
    assert torch.equal(first(x), second(x))
    missing = {key: value for key, value in state.items() if key != "0.bias"}
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.bias"):
        second.load_state_dict(missing)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*2\.bias"):
        second.load_state_dict({**state, "2.bias": torch.zeros(192)})
    with pytest.raises(RuntimeError, match=r"0\.weight: expected shape \(256, 192\), got \(192"):
        second.load_state_dict({**state, "0.weight": state["0.weight"].t()})
    with pytest.raises(RuntimeError, match=r"0\.weight: expected torch\.int8, got torch\.float32"):
        second.load_state_dict({**state, "0.weight": state["0.weight"].float()})
    assert torch.equal(first(x), second(x))


def test_state_dict_is_octavos_own() -> None:
    _, twin, reference = layers()
    state = {key: value.numpy() for key, value in twin.state_dict().items()}
    for key, value in reference.state_dict().items():
        np.testing.assert_array_equal(state.pop(key), value)
    assert not state


def test_in_place_writes_count() -> None:
    _, twin, _ = layers()
    x = torch.randn(2, 70)
    y = twin(x)
    twin.bias.add_(1.0)
    np.testing.assert_allclose(twin(x).numpy(), y.numpy() + 1, rtol=1e-5, atol=1e-5)
    twin.packed.zero_()
    assert torch.equal(twin(x), twin.bias.expand(2, 40))
    assert torch.equal(twin.state_dict()["weight"], torch.zeros(40, 70, dtype=torch.int8))


def test_threads_share_a_layer() -> None:
    from concurrent.futures import ThreadPoolExecutor

    _, twin, _ = layers()
    inputs = [torch.randn(3, 70) for _ in range(16)]
    expected = [twin(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for y, wanted in zip(pool.map(twin, inputs), expected, strict=True):
            assert torch.equal(y, wanted)


@pytest.mark.parametrize("name", ["weight_scale", "bias"])
@pytest.mark.parametrize("shared", [False, True])
def test_floats_of_the_layer_do_not_train(name, shared) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    if shared:
        model[1].weight = model[0].weight
    ot.quantize_(model, ot.Int8Dynamic(if_slower="quantize"))
    layer, x = model[0], torch.randn(3, 64)
    layer(x)
    getattr(layer, name).requires_grad_(True)
    for inputs in (x, x.clone().requires_grad_()):
        with pytest.raises(ValueError, match=r"requires_grad: expected False .*do not train"):
            layer(inputs)


@pytest.mark.parametrize(
    ("kind", "arguments"), [(torch.nn.Linear, (64, 32)), (torch.nn.Embedding, (64, 32))]
)
def test_from_float_says_what_it_cannot_read(kind, arguments) -> None:
    from_float = {torch.nn.Linear: ot.Linear, torch.nn.Embedding: ot.Embedding}[kind].from_float
    with pytest.raises(ValueError, match=r"module\.weight: expected a CPU tensor, got a meta"):
        from_float(kind(*arguments, device="meta"))
    sparse = kind(*arguments)
    sparse.weight = torch.nn.Parameter(sparse.weight.detach().to_sparse(), requires_grad=False)
    with pytest.raises(ValueError, match=r"module\.weight: expected a dense tensor.*to_dense"):
        from_float(sparse)
    wrong = torch.nn.Conv2d(3, 3, 3)
    with pytest.raises(TypeError, match=rf"expected a torch\.nn\.{kind.__name__}, got Conv2d"):
        from_float(wrong)

# SPDX-License-Identifier: Apache-2.0
"""octavo.torch's linear layer: numbers, dtypes, gradients, state, tracing."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest

import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")

# PyTorch's own deprecations, met while it imports its compiler.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(7)


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype) -> None:
    _, twin, reference = layers()
    x = torch.randn(4, 70).to(dtype)
    expected = torch.from_numpy(reference(x.float().numpy())).to(dtype)
    assert torch.equal(twin(x), expected)
    assert torch.equal(copy.deepcopy(twin).to(dtype)(x), expected)


def test_strided_input() -> None:
    _, twin, _ = layers()
    x = torch.randn(70, 6)
    assert torch.equal(twin(x.t()), twin(x.t().contiguous()))
    wide = torch.randn(6, 140)
    assert torch.equal(twin(wide[:, ::2]), twin(wide[:, ::2].contiguous()))
    assert torch.equal(twin(wide[:, :70]), twin(wide[:, :70].contiguous()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_passes_through_the_dequantized_weight(dtype) -> None:
    _, twin, _ = layers()
    x = torch.randn(3, 5, 70, dtype=dtype, requires_grad=True)
    y = twin(x)
    assert torch.equal(y, twin(x.detach()))
    gradient = torch.randn_like(y)
    y.backward(gradient)
    expected = (gradient.float() @ twin.weight).to(dtype)
    assert torch.equal(x.grad, expected)


def test_gradient_reaches_what_stands_before() -> None:
    head = torch.nn.Linear(16, 70)
    _, twin, _ = layers()
    twin(head(torch.randn(2, 16))).sum().backward()
    assert head.weight.grad.abs().sum() > 0


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
    with pytest.raises(RuntimeError, match="-128"):
        second.load_state_dict({**state, "0.weight": torch.full_like(state["0.weight"], -128)})
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


def test_copies_are_their_own(tmp_path) -> None:
    first = model()
    x = torch.randn(4, 192)
    y = first(x)
    stream = io.BytesIO()
    torch.save(first, stream)
    stream.seek(0)
    copies = [
        copy.deepcopy(first),
        pickle.loads(pickle.dumps(first)),
        torch.load(stream, weights_only=False),
    ]
    for other in copies:
        assert torch.equal(other(x), y)
        other.load_state_dict(model().state_dict())
        assert not torch.equal(other(x), y)
    assert torch.equal(first(x), y)


def test_compile_keeps_one_graph() -> None:
    made = model()
    x = torch.randn(4, 192)
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(made, fullgraph=True, backend=backend)
    with torch.no_grad():
        assert torch.equal(compiled(x), made(x))
    assert len(graphs) == 1
    called = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert sum("octavo.linear" in target for target in called) == 2


def test_inductor_and_gradients() -> None:
    made = model()
    compiled = torch.compile(made, fullgraph=True)
    x = torch.randn(4, 192, requires_grad=True)
    with torch.no_grad():
        # GELU is computed otherwise: a few units in the last place before the second rounding.
        scale = made(x).abs().max().item()
        assert torch.allclose(compiled(x), made(x), rtol=0, atol=0.02 * scale)
    compiled(x).sum().backward()
    gradient, x.grad = x.grad, None
    made(x).sum().backward()
    assert torch.allclose(gradient, x.grad, rtol=1e-4, atol=1e-5)


LOADER = """
import sys, torch, octavo.torch
program = torch.export.load(sys.argv[1])
x, y = torch.load(sys.argv[2])
run = program.module()
assert torch.equal(run(x), y), "first call"
assert torch.equal(run(x), y), "second call"
assert len(octavo.torch.memory._COPIES) == 2, len(octavo.torch.memory._COPIES)
"""


# PyTorch 2.4 says so about every operator without a gradient.
@pytest.mark.filterwarnings("ignore:At pre-dispatch tracing, we will assume")
def test_export_survives_the_process(tmp_path) -> None:
    made = model()
    x = torch.randn(4, 192)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(made, (x,), dynamic_shapes=({0: batch},))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("octavo.linear" in target for target in targets) == 2
    other = torch.randn(7, 192)
    with torch.no_grad():
        assert torch.equal(program.module()(other), made(other))
        y = made(x)
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save((x, y), tmp_path / "xy.pt")
    command = [sys.executable, "-c", LOADER, tmp_path / "model.pt2", tmp_path / "xy.pt"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_copied_tensors_are_packed_once_and_let_go() -> None:
    _, twin, _ = layers()
    x = torch.randn(2, 70)
    cache = ot.memory._COPIES
    before = len(cache)
    packed, scale, bias = twin.packed.clone(), twin.weight_scale.clone(), twin.bias.clone()
    text = twin._weight.text
    for _ in range(3):
        y = torch.ops.octavo.linear(x, [packed, scale], bias, text)
        assert torch.equal(y, twin(x))
        assert len(cache) == before + 1
    bias.zero_()
    y = torch.ops.octavo.linear(x, [packed, scale], bias, text)
    without = torch.ops.octavo.linear(x, [twin.packed, twin.weight_scale], None, text)
    assert torch.equal(y, without)
    assert len(cache) == before + 2
    del packed, scale, bias, twin
    assert len(cache) == before


def test_operators_pass_pytorchs_own_checks() -> None:
    _, twin, _ = layers(n=20, k=12)
    x = torch.randn(3, 12)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        torch.ops.octavo.linear.default,
        (x.clone().requires_grad_(), *arguments(twin)),
        test_utils=(*checks, "test_aot_dispatch_dynamic"),
    )
    torch.library.opcheck(
        torch.ops.octavo.linear_inference.default, (x, *arguments(twin)), test_utils=checks
    )
    a = torch.randint(-128, 128, (3, 12), dtype=torch.int8)
    torch.library.opcheck(torch.ops.octavo.int_mm.default, (a, a.t()), test_utils=checks)


def test_tracing_does_not_bake_the_result_in() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    made = model()
    graph = make_fx(made)(torch.randn(4, 192))
    x = torch.randn(4, 192)
    assert torch.equal(graph(x), made(x))
    with torch._subclasses.fake_tensor.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = made(mode.from_tensor(x))
    assert tuple(fake.shape) == (4, 192)


def test_made_in_inference_mode_used_outside() -> None:
    with torch.inference_mode():
        made = model()
        x = torch.randn(2, 192)
        y = made(x)
    x = x.clone().requires_grad_()
    made(x).sum().backward()
    assert torch.equal(made(x.detach()), y)


def test_threads_share_a_layer() -> None:
    from concurrent.futures import ThreadPoolExecutor

    _, twin, _ = layers()
    inputs = [torch.randn(3, 70) for _ in range(16)]
    expected = [twin(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for y, wanted in zip(pool.map(twin, inputs), expected, strict=True):
            assert torch.equal(y, wanted)


def test_nan_rows_stay_nan() -> None:
    _, twin, _ = layers()
    x = torch.randn(3, 70)
    clean = twin(x)
    x[1, 4] = float("inf")
    y = twin(x)
    assert y[1].isnan().all()
    assert torch.equal(y[[0, 2]], clean[[0, 2]])


def test_inputs_that_numpy_refuses() -> None:
    layer = ot.Linear.from_float(torch.nn.Linear(64, 32))
    x = torch.randn(3, 64)
    assert torch.equal(layer(torch._neg_view(x)), layer(-x))
    for bad in (x.numpy(), [1.0], None):
        with pytest.raises(TypeError, match=r"x: expected a torch\.Tensor, got"):
            layer(bad)
    with pytest.raises(ValueError, match="x: expected a CPU tensor, got one on meta"):
        layer(x.to("meta"))
    for dtype in (torch.float32, torch.bfloat16):
        with pytest.raises(TypeError, match="x: expected a dense tensor, got layout"):
            layer(x.to(dtype).to_sparse())


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


def test_bad_calls() -> None:
    _, twin, _ = layers()
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 70\), got \(2, 71\)"):
        twin(torch.randn(2, 71))
    with pytest.raises(TypeError, match=r"x: expected float32.*got torch.float64"):
        twin(torch.randn(2, 70, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"x: expected float32.*got torch.int64"):
        twin(torch.ones(2, 70, dtype=torch.int64))
    with pytest.raises(ValueError, match="CPU, got device meta"):
        twin.to("meta")
    with pytest.raises(ValueError, match="requires_grad: expected False for Linear"):
        twin.requires_grad_()
    assert twin.requires_grad_(False) is twin
    assert "in_features=70, out_features=40, bias=True" in repr(twin)

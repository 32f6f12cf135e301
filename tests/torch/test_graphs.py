# SPDX-License-Identifier: Apache-2.0
"""octavo.torch's linear layers, dense and sparse, in compiled graphs and exported programs."""

from __future__ import annotations

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
nn = torch.nn

pytestmark = [
    # PyTorch 2.4 says so about every operator without a gradient, and about constants.
    pytest.mark.filterwarnings("ignore:At pre-dispatch tracing, we will assume"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node"),
    pytest.mark.filterwarnings("ignore:Node .* does not reference an nn.Module"),
]
COPIES = ot.memory._COPIES
TELLS = hasattr(torch.compiler, "is_exporting")


both = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    # Else what tests compile counts as one function compiled again and again.
    torch._dynamo.reset()


def layer(n: int = 40, k: int = 70, share: float = 0.8, sparse: bool = True) -> Any:
    plain = nn.Linear(k, n)
    with torch.no_grad():
        plain.weight *= torch.rand(n, k) >= share
    if sparse:
        return ot.SparseLinear.from_float(plain, format="windowed16")
    return ot.Linear.from_float(plain)


def model(share: float = 0.8, sparse: bool = True) -> Any:
    first, second = (layer(n, k, share, sparse) for n, k in ((256, 192), (192, 256)))
    return nn.Sequential(first, nn.ReLU(), second).eval()


def has_parts(made: Any) -> bool:
    """Whether it holds what graphs read."""
    return bool(getattr(made._weight, "part_names", ()))


def parts(made: Any) -> tuple[Any, ...]:
    """What a graph hands to the operator after `x`."""
    memory = made._weight
    if type(made) is ot.Linear:
        return [made.packed, made.weight_scale], made.bias, memory.text
    memory.make_parts()
    names = (*memory.part_names, *memory.names)
    assert names == ("weight_shape", "weight_bitmap", "weight_values", "weight_scale")
    return [getattr(memory, name) for name in names], made.bias, memory.part_text


@both
def test_compile_keeps_one_graph(sparse) -> None:
    made = model(sparse=sparse)
    x = torch.randn(4, 192)
    y = made(x)
    assert not has_parts(made[0])
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    before = len(COPIES)
    compiled = torch.compile(made, fullgraph=True, backend=backend)
    with torch.no_grad():
        assert torch.equal(compiled(x), y)
    assert len(graphs) == 1
    called = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert sum("octavo.linear" in target for target in called) == 2
    assert len(COPIES) == before
    assert has_parts(made[0]) == (sparse and not TELLS)


@pytest.mark.skipif(not TELLS, reason="needs to know what is compiled for export")
def test_layers_of_one_shape_share_a_graph() -> None:
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    x = torch.randn(4, 192)
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        made = layer(256, 192, share)
        y = made(x)
        made.compile(fullgraph=True, backend=backend)
        assert torch.equal(made(x), y)
        made.load_state_dict(layer(256, 192, 0.95).state_dict())
        assert not torch.equal(made(x), y)
    assert len(graphs) == 1


@both
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_results_gradients_and_new_numbers(backend, sparse) -> None:
    made = model(sparse=sparse)
    compiled = torch.compile(made, fullgraph=True, backend=backend)
    before = len(COPIES)
    # Without being told, inductor asserts how many non-zeros there were.
    several = TELLS or backend != "inductor" or not sparse
    others = (made, *(model(share, sparse) for share in (0.6, 0.9) if several))
    for other in others:
        made.load_state_dict(copy.deepcopy(other.state_dict()))
        x = torch.randn(4, 192, requires_grad=True)
        with torch.no_grad():
            assert torch.equal(compiled(x), other(x))
        compiled(x).sum().backward()
        gradient, x.grad = x.grad, None
        other(x).sum().backward()
        assert torch.allclose(gradient, x.grad, rtol=1e-4, atol=1e-5)
    assert len(COPIES) == before


LOADER = """
import sys, torch, octavo.torch
program = torch.export.load(sys.argv[1])
x, y = torch.load(sys.argv[2])
run = program.module()
assert torch.equal(run(x), y), "first call"
assert torch.equal(run(x), y), "second call"
copies = octavo.torch.memory._COPIES
assert len(copies) == 2, len(copies)
"""


@both
@pytest.mark.parametrize("strict", [False, True])
def test_export_survives_the_process(tmp_path, strict, sparse) -> None:
    made = model(sparse=sparse)
    x = torch.randn(4, 192)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(made, (x,), dynamic_shapes=({0: batch},), strict=strict)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("octavo.linear" in target for target in targets) == 2
    other = torch.randn(7, 192)
    before = len(COPIES)
    with torch.no_grad():
        assert torch.equal(program.module()(other), made(other))
        y = made(x)
    assert len(COPIES) == before
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save((x, y), tmp_path / "xy.pt")
    command = [sys.executable, "-c", LOADER, tmp_path / "model.pt2", tmp_path / "xy.pt"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    # Nothing fake is left in the layer.
    made[0].weight_scale.mul_(2)
    assert not torch.equal(made(x), y)
    assert torch.equal(copy.deepcopy(made)(x), made(x))


def test_a_layer_without_non_zeros() -> None:
    made = layer(share=1.1)
    x = torch.randn(3, 70, requires_grad=True)
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), made.bias.expand(3, 40))
    compiled(x).sum().backward()
    assert not x.grad.any()
    made.load_state_dict(made.state_dict())
    assert made.sparsity == 1


@both
def test_copied_tensors_are_packed_once_and_let_go(sparse) -> None:
    made = layer(sparse=sparse)
    x = torch.randn(2, 70)
    before = len(COPIES)
    tensors, bias, text = parts(made)
    call = torch.ops.octavo.linear
    assert torch.equal(call(x, tensors, bias, text), made(x))
    assert len(COPIES) == before
    tensors, bias = [tensor.clone() for tensor in tensors], bias.clone()
    for _ in range(3):
        assert torch.equal(call(x, tensors, bias, text), made(x))
        assert len(COPIES) == before + 1
    bias.zero_()
    y = call(x, tensors, bias, text)
    assert torch.equal(y, call(x, parts(made)[0], None, text))
    assert len(COPIES) == before + 2
    del tensors, bias, made
    assert len(COPIES) == before


def test_written_parts_are_no_longer_the_layers() -> None:
    made = layer()
    x = torch.randn(2, 70)
    tensors, bias, text = parts(made)
    expected = made(x)
    made._weight.weight_values.neg_()
    y = torch.ops.octavo.linear(x, tensors, bias, text)
    torch.testing.assert_close(y - bias, bias - expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(made(x), expected)


def test_parts_that_contradict_each_other() -> None:
    made = layer()
    x = torch.randn(2, 70)
    (shape, bitmap, values, scale), bias, _ = parts(made)
    for wrong, error, match in (
        (
            {"bitmap": bitmap[:, :8]},
            ValueError,
            r"bitmap: expected shape \(any, 9\), got \(40, ",
        ),
        ({"bitmap": bitmap[0]}, ValueError, r"bitmap: expected shape \(any, 9\), got \(9,\)"),
        ({"bitmap": bitmap.char()}, TypeError, "bitmap: expected uint8, got int8"),
        ({"bitmap": bitmap | 64}, ValueError, "bitmap: expected zero bits behind column 70, got"),
        (
            {"bitmap": bitmap & 254},
            ValueError,
            r"values: expected \d+ values as in the bit",
        ),
        ({"bitmap": bitmap[:39]}, ValueError, r"values: expected \d+ values as in the bit"),
        ({"values": values[1:]}, ValueError, r"values: expected \d+ values as in the bit"),
        (
            {"values": values[:0]},
            ValueError,
            r"values: expected \d+ values .*, got 0",
        ),
        ({"values": values[None]}, ValueError, r"values: expected shape \(any,\), got \(1, "),
        ({"values": values.int()}, TypeError, "values: expected int8, got int32"),
        ({"values": values * 0}, ValueError, "values: expected codes without 0, got 0 at 0"),
        ({"scale": scale[1:]}, ValueError, r"scale: expected shape \(40,\).*, got \(39,\)"),
        ({"scale": scale * 0}, ValueError, "scale: expected positive finite values, got 0"),
        ({"bias": bias[1:]}, ValueError, r"bias: expected shape \(40,\), got \(39,\)"),
        ({"shape": shape.flip(0)}, ValueError, r"weight_shape: expected \[40, 70\], got \[70, 40"),
        ({"bitmap": None}, ValueError, "expected the tensors of a living .*got others without"),
        ({"values": None}, ValueError, "expected the tensors of a living .*got others without"),
        (
            {"bitmap": None, "values": None, "scale": scale.clone()},
            ValueError,
            r"expected the tensors of a living octavo.*got others without.*torch\.export",
        ),
        ({"in_features": 71}, ValueError, r"weight_shape: expected \[40, 71\], got \[40, 70\]"),
        (
            {"in_features": 71, "shape": torch.tensor([40, 71])},
            ValueError,
            r"x: expected shape \(\.\.\., 71\), got \(2, 70\)",
        ),
        ({"in_features": -70}, ValueError, "in_features: expected at least 0, got -70"),
    ):
        given = {"shape": shape, "bitmap": bitmap, "values": values, "scale": scale} | wrong
        own_bias, k = given.pop("bias", bias), given.pop("in_features", 70)
        tensors = {f"weight_{key}": part for key, part in given.items() if part is not None}
        text = made._weight.form._replace(shape=(40, k)).text((*tensors,))
        with pytest.raises(error, match=match):
            torch.ops.octavo.linear(x, [*tensors.values()], own_bias, text)
        if not match.startswith(("bias", "x:")):
            with pytest.raises(error, match=match):
                torch.ops.octavo.linear_weight([*tensors.values()], text)


@both
def test_operators_pass_pytorchs_own_checks(sparse) -> None:
    made = layer(n=20, k=12, sparse=sparse)
    arguments = parts(made)
    x = torch.randn(3, 12)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        torch.ops.octavo.linear.default,
        (x.clone().requires_grad_(), *arguments),
        test_utils=(*checks, "test_aot_dispatch_dynamic"),
    )
    torch.library.opcheck(
        torch.ops.octavo.linear_inference.default, (x, *arguments), test_utils=checks
    )
    torch.library.opcheck(torch.ops.octavo.linear_weight.default, arguments[::2], test_utils=checks)
    a = torch.randint(-128, 128, (3, 12), dtype=torch.int8)
    torch.library.opcheck(torch.ops.octavo.int_mm.default, (a, a.t()), test_utils=checks)


@both
def test_tracing_does_not_bake_the_result_in(sparse) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    made = model(sparse=sparse)
    graph = make_fx(made)(torch.randn(4, 192))
    x = torch.randn(4, 192)
    assert torch.equal(graph(x), made(x))
    with torch.no_grad():
        assert torch.equal(torch.jit.trace(made, (x,))(x), made(x))
    made = model(sparse=sparse)
    with torch._subclasses.fake_tensor.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = made(mode.from_tensor(x))
    assert tuple(fake.shape) == (4, 192)
    assert torch.equal(torch.compile(made, backend="aot_eager")(x), made(x))


def test_scales_written_between_forward_and_backward_are_noticed() -> None:
    made = layer()
    x = torch.randn(3, made.in_features, requires_grad=True)
    result = made(x).sum()
    made.weight_scale.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_without_outputs_do_not_meet() -> None:
    layers = [layer(0, k) for k in (128, 64)]
    for made in layers:
        x = torch.ones(2, made.in_features)
        assert made(x).shape == torch.compile(made, backend="eager")(x).shape == (2, 0)


def test_bitmap_and_values_are_made_once_for_all_threads() -> None:
    for _ in range(50):
        made = layer()
        x = torch.ones(2, made.in_features)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(torch.vmap(made), [x] * 4))
        assert all(torch.equal(result, made(x)) for result in results)

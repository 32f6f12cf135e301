# SPDX-License-Identifier: Apache-2.0
"""`to_graph`: what a module computes, its graph does, with images lying as graphs have them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils import _pytree as pytree

import octavo.tflite
import octavo.torch
from bench.common import image_models
from octavo.graph import Graph, Session

IMAGE = (2, 4, 9, 8)


class Calls(nn.Module):
    """A function of tensors, and modules that it may use."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


def conv(*arguments: Any, **options: Any) -> nn.Module:
    return nn.Conv2d(*arguments, **options)


def normed(*layers: nn.Module) -> nn.Module:
    """Return layers with statistics that change something."""
    for part in nn.Sequential(*layers):
        if hasattr(part, "running_var"):
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.running_mean)
            nn.init.normal_(part.weight)
    return nn.Sequential(*layers)


# The module and the shape of its input; kinds of operators, where they matter.
CONVOLUTIONS = {
    "same": (conv(4, 6, 3, padding=1), IMAGE, "conv_2d"),
    "stride of even sizes": (conv(4, 6, 3, 2, 1), (2, 4, 8, 8), "pad conv_2d"),
    "stride of odd sizes": (conv(4, 6, 3, 2, 1), (2, 4, 9, 7), "conv_2d"),
    "grouped": (conv(4, 6, 3, groups=2), IMAGE, "conv_2d"),
    "dilated": (conv(4, 6, 3, padding=2, dilation=2), IMAGE, "conv_2d"),
    "depthwise": (conv(4, 8, 3, (2, 1), (0, 1), groups=4), IMAGE, "pad depthwise_conv_2d"),
    "one row": (nn.Conv1d(4, 6, 3, 2, 1), (2, 4, 9), "reshape transpose conv_2d reshape transpose"),
    "spread same": (nn.ConvTranspose2d(4, 6, 4, 2, 1), IMAGE, "transpose_conv"),
    "spread": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), IMAGE, "transpose_conv slice slice"),
    "spread wide": (nn.ConvTranspose2d(4, 6, 1, 3, 0, 2), IMAGE, "transpose_conv"),
    "folded": (normed(conv(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU6()), IMAGE, "conv_2d"),
    "folded dense": (normed(nn.Linear(5, 6), nn.BatchNorm1d(6)), (4, 5), "fully_connected"),
    "norm alone": (normed(nn.BatchNorm2d(4)), IMAGE, "mul add"),
    "padded before": (
        nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(4, 6, 3, 2)),
        (2, 4, 8, 8),
        "conv_2d",
    ),
    "read twice": (
        Calls(lambda own, x: (own.bn(own.conv(x)), own.conv(x).relu()), conv=conv(4, 6, 1),
              bn=nn.BatchNorm2d(6)),
        IMAGE,
        "conv_2d conv_2d",
    ),
    "kept": (
        Calls(lambda own, x: (lambda y: (y, y.relu()))(own.conv(x)), conv=conv(4, 6, 1)),
        IMAGE,
        "conv_2d relu",
    ),
    "shuffled": (
        nn.Sequential(conv(4, 8, 1), nn.ChannelShuffle(2), conv(8, 4, 1)),
        IMAGE,
        "conv_2d reshape transpose reshape conv_2d",
    ),
    "last axis": (
        Calls(lambda own, x: own.dense(own.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
              conv=conv(4, 4, 7, padding=3, groups=4), dense=nn.Linear(4, 5)),
        IMAGE,
        "depthwise_conv_2d fully_connected",
    ),
    "weighed": (image_models.Weighed(4, 2), IMAGE, "mean conv_2d conv_2d add mul mul"),
}  # fmt: skip

POOLS = {
    "max": (nn.MaxPool2d(3, 2, 1), IMAGE, "padv2 max_pool_2d"),
    "max of what is positive": (
        nn.Sequential(conv(4, 4, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)), (2, 4, 8, 8),
        "conv_2d pad max_pool_2d",
    ),
    "max to the end": (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 4, 10, 9), "padv2 max_pool_2d"),
    "average": (nn.AvgPool2d(2), IMAGE, "average_pool_2d"),
    "average with zeros": (nn.AvgPool2d(3, 1, 1), IMAGE, "pad average_pool_2d"),
    "average without": (nn.AvgPool2d(3, 1, 1, count_include_pad=False), IMAGE, "average_pool_2d"),
    "average mended": (
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 4, 8, 8), "pad average_pool_2d mul"
    ),
    "average to the end": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 4, 9, 8), ""),
    "divisor": (nn.AvgPool2d(2, 2, divisor_override=3), IMAGE, "average_pool_2d mul"),
    "to one": (nn.AdaptiveAvgPool2d(1), IMAGE, "mean"),
    "to a size": (nn.AdaptiveAvgPool2d((3, 4)), IMAGE, "average_pool_2d"),
    "largest of a size": (nn.AdaptiveMaxPool2d((3, 4)), IMAGE, "max_pool_2d"),
    "nearest": (nn.Upsample(scale_factor=2), IMAGE, "resize_nearest_neighbor"),
    "nearest of centers": (nn.Upsample((18, 4), mode="nearest-exact"), IMAGE, ""),
    "bilinear": (nn.Upsample((5, 11), mode="bilinear"), IMAGE, "resize_bilinear"),
    "bilinear of corners": (nn.Upsample((5, 11), mode="bilinear", align_corners=True), IMAGE, ""),
}  # fmt: skip

# Functions of one tensor or two; what they give may lie in any order.
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "arithmetic": (lambda x: ((x + 2) * x - x / 3, 1 - x, x.add(x, alpha=2), x / x.exp()), (2, 3)),
    "spread": (
        lambda x: (x[:1] + x[:, :1], x * torch.arange(3.0), torch.ones(4, 2, 3) - x),
        (2, 3),
    ),
    "bounds": (lambda x: (x.clamp(-0.5, 0.7), x.clamp(min=0.1), torch.maximum(x, -x)), (2, 3)),
    "masks": (
        lambda x: (x.masked_fill(x < 0, -2.0), (x > 0.1) & ~(x >= 1), x.ne(0).float()),
        (2, 3),
    ),
    "curves": (
        lambda x: functional.gelu(functional.silu(functional.hardsigmoid(functional.elu(x)))),
        IMAGE,
    ),
    "more curves": (
        lambda x: functional.leaky_relu(functional.hardswish(x), 0.2).sigmoid().tanh().rsqrt(),
        IMAGE,
    ),
    "powers": (lambda x: (x.pow(2), x.abs().pow(0.5), x.abs() ** 1.5), (2, 3)),
    "sums": (lambda x: (x.sum(1), x.mean((0, 2), keepdim=True), x.amax(-1), x.mean()), (2, 3, 4)),
    "spreads": (lambda x: (x.var(1), x.std((0, 2), unbiased=False), x.argmax(1)), (2, 3, 4)),
    "softmax": (lambda x: (x.softmax(1), x.log_softmax(-1)), (2, 3, 4)),
    "views": (
        lambda x: (x.view(2, 12)[:, None].expand(2, 3, 12), x.repeat(2, 1, 2, 1), x.squeeze()),
        (2, 3, 4),
    ),
    "orders": (
        lambda x: (x.permute(2, 0, 1).reshape(4, 6), x.transpose(0, 1).unflatten(2, (2, 2))),
        (2, 3, 4),
    ),
    "pieces": (
        lambda x: (x.chunk(2, 1), x.split([1, 2], 1), x.unbind(2), x[:, 1:, ::2], x[..., -1]),
        (2, 3, 4),
    ),
    "joined": (
        lambda x: (torch.cat([x, x * 2], 1), torch.stack([x, -x], -1), x.roll(1, 1)),
        (2, 3),
    ),
    "indices": (
        lambda x: (x[:, [2, 0]], x[[0, 1], [1, 2]], x.index_select(1, torch.tensor([1]))),
        (2, 3),
    ),
    "padded": (
        lambda x: (
            functional.pad(x, (1, -1, 0, 2)),
            functional.pad(x, (1, 2), value=2.0),
            functional.pad(x, (1, 1, 2, 1), "reflect"),
        ),
        IMAGE,
    ),
    "products": (lambda x: (x @ x.mT, x.mT @ torch.ones(2, 3), torch.bmm(x.mT, x)), (2, 2, 3)),
    "weights": (lambda x: torch.addmm(torch.ones(4), x, torch.ones(3, 4)), (2, 3)),
    "attention": (
        lambda x: (
            functional.scaled_dot_product_attention(x, x, x, is_causal=True),
            functional.scaled_dot_product_attention(x, x, x, x.mean((1, 3))[:, None, None] > -0.3),
        ),
        (2, 4, 5, 3),
    ),
    "in place": (lambda x: x.exp().relu_().add_(1).mul_(2), (2, 3)),
    "keys": (lambda x: {"a": x + 1, "b": (x, 2 * x)}, (2, 3)),
}

LAYERS = {
    "groups": (nn.Sequential(conv(4, 8, 3), nn.GroupNorm(2, 8)), IMAGE),
    "rows": (nn.LayerNorm((3, 4)), (2, 3, 4)),
    "slopes": (nn.Sequential(conv(4, 8, 1), nn.PReLU(8)), IMAGE),
    "pixels": (nn.Sequential(conv(4, 8, 1), nn.PixelShuffle(2), conv(2, 3, 1)), IMAGE),
    "flat": (nn.Sequential(conv(4, 8, 1), nn.Flatten(), nn.Linear(576, 3)), IMAGE),
    "recurrent": (nn.LSTM(4, 3, batch_first=True), (2, 3, 4)),
    "heads": (
        Calls(
            lambda own, x: own.heads(x, x, x), heads=nn.MultiheadAttention(8, 2, batch_first=True)
        ),
        (2, 5, 8),
    ),
    "encoder": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"),
        (2, 5, 8),
    ),
}


def check(module: nn.Module, *inputs: torch.Tensor, atol: float = 1e-5) -> Graph:
    """Return the graph of a module, which gives what the module gives."""
    with torch.no_grad():
        wanted = pytree.tree_leaves(module.eval()(*inputs))
    graph = octavo.torch.to_graph(module, inputs)
    given = [placed(x, graph, i) for x, i in zip(inputs, graph.inputs, strict=True)]
    results = Session(graph)(*given)
    for result, one, index in zip(results, wanted, graph.outputs, strict=True):
        array = placed(one, graph, index)
        assert result.dtype == array.dtype
        np.testing.assert_allclose(result, array, rtol=1e-5, atol=atol)
    return graph


def placed(x: torch.Tensor, graph: Graph, index: int) -> Any:
    """Return a tensor as it lies in a graph."""
    slides = any("2d" in one.kind or "conv" in one.kind for one in graph.operators)
    moves = (
        x.ndim == 4 and x.is_floating_point() and (slides or graph.tensors[index].shape != x.shape)
    )
    return (x.permute(0, 2, 3, 1) if moves else x).contiguous().numpy()


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *POOLS])
def test_images(name: str) -> None:
    module, shape, kinds = {**CONVOLUTIONS, **POOLS}[name]
    torch.manual_seed(0)
    graph = check(module, torch.randn(shape))
    if kinds:
        assert [one.kind for one in graph.operators] == kinds.split()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    function, shape = FUNCTIONS[name]
    torch.manual_seed(0)
    check(Calls(lambda _, x: function(x)), torch.randn(shape))
    if len(shape) == 4:
        on_images = Calls(lambda own, x: function(own.conv(x)), conv=conv(4, 4, 1))
        check(on_images, torch.randn(shape))


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    module, shape = LAYERS[name]
    check(module, torch.randn(shape))


@pytest.mark.parametrize("name", image_models.MODELS)
def test_networks(name: str) -> None:
    graph = check(image_models.random(name), torch.randn(1, 3, 32, 32), atol=1e-4)
    assert "transpose" not in {one.kind for one in graph.operators}


@pytest.mark.parametrize("name", ["groups", "slopes", "pixels", "flat", "encoder", "mobilenet_v3"])
def test_litert_gives_what_the_module_gives(name: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="runs the files")
    pytest.importorskip("flatbuffers", reason="writes the files")
    module, shape = LAYERS.get(name, (None, (1, 3, 32, 32)))
    module = image_models.random(name) if module is None else module.eval()
    x = torch.randn(shape)
    graph = octavo.torch.to_graph(module, (x,))
    interpreter = litert.Interpreter(model_content=octavo.tflite.to_bytes(graph))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], placed(x, graph, 0))
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    with torch.no_grad():
        wanted = placed(module(x), graph, graph.outputs[0])
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)


def test_table_of_vectors() -> None:
    module = Calls(lambda own, ids: own.table(ids) + own.table.weight[:3], table=nn.Embedding(9, 4))
    check(module, torch.tensor([[1, 2, 3], [4, 8, 0]]))


def test_what_depends_on_constants_alone_is_computed() -> None:
    module = Calls(
        lambda own, x: x * (own.norm.weight.exp() + torch.arange(3)), norm=nn.LayerNorm(3)
    )
    graph = octavo.torch.to_graph(module, (torch.ones(2, 3),))
    assert [one.kind for one in graph.operators] == ["mul"]


def test_names_are_those_of_arguments_and_keys() -> None:
    class Model(nn.Module):
        def forward(self, image: torch.Tensor, *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"scaled": image * scale, "plain": image + 1}

    inputs = (torch.ones(2, 3),), {"scale": torch.ones(3)}
    graph = octavo.torch.to_graph(Model(), *inputs)
    (signature,) = graph.signatures
    assert [*signature.inputs] == ["image", "scale"]
    assert [*signature.outputs] == ["scaled", "plain"]
    assert graph.name == "Model"


def test_tensors_are_called_as_layers_are() -> None:
    block = image_models.Residual(conv(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.LayerNorm(8))
    graph = octavo.torch.to_graph(nn.Sequential(block).eval(), (torch.zeros(IMAGE),))
    names = [graph.tensors[one.outputs[0]].name for one in graph.operators]
    assert (names[0], names[1], names[-1]) == ("0.layers.0", "0.layers.3", "0.add")
    assert len({one.name for one in graph.tensors}) == len(graph.tensors)


def test_a_graph_keeps_its_weights_while_the_module_trains_on() -> None:
    module = nn.Linear(3, 2)
    graph = octavo.torch.to_graph(module, (torch.ones(1, 3),))
    before = Session(graph)(np.ones((1, 3), np.float32))[0]
    with torch.no_grad():
        module.weight.zero_()
    np.testing.assert_array_equal(Session(graph)(np.ones((1, 3), np.float32))[0], before)


def test_other_batches() -> None:
    session = Session(octavo.torch.to_graph(LAYERS["flat"][0], (torch.zeros(1, *IMAGE[1:]),)))
    images = torch.randn(3, *IMAGE[1:])
    session.resize({0: (3, 9, 8, 4)})
    with torch.no_grad():
        wanted = LAYERS["flat"][0](images).numpy()
    np.testing.assert_allclose(session(images.permute(0, 2, 3, 1).numpy())[0], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.erfc, r"aten.erfc.default: graphs have no operator for it; .*test_exported.py:\d+"),
        (lambda x: x + torch.rand(3), "aten.rand.default: expected nothing random"),
        (lambda x: x.add_(1), "expected none that keeps a state, but it writes"),
        (lambda x: x if x.sum() > 0 else -x, "torch.export cannot follow it"),
        (lambda x: x.bfloat16(), "expected no bfloat16"),
        (lambda x: functional.conv2d(x[None, None], x[None, None]), "expected constant weights"),
        (lambda x: functional.max_pool2d(x[None, None], 2, dilation=2), "dilation"),
        (lambda x: functional.interpolate(x[None, None], scale_factor=1.3), "factors that give"),
        (lambda x: functional.adaptive_avg_pool2d(x[None], 2), "sizes that divide"),
    ],
)
def test_refusals(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octavo.torch.to_graph(Calls(lambda _, x: function(x)), (torch.ones(3, 3),))


@pytest.mark.parametrize(
    ("module", "args", "error", "message"),
    [
        ("x", (), TypeError, "module: expected a torch.nn.Module, got str"),
        (nn.Linear(2, 2), torch.ones(2), TypeError, "args: expected a tuple of inputs, got Tensor"),
        (
            nn.Linear(2, 2).half(),
            (torch.ones(1, 2),),
            ValueError,
            "module.weight: expected float32",
        ),
        (nn.Linear(2, 2, device="meta"), (), ValueError, "module.weight: expected a CPU tensor"),
        (nn.Linear(2, 2), (), ValueError, "module: torch.export cannot follow it"),
    ],
)
def test_arguments(module: Any, args: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        octavo.torch.to_graph(module, args)

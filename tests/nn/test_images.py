# SPDX-License-Identifier: Apache-2.0
"""Layers on images: convolutions, pools, sums, functions of values; float32 and int8."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import octavo
from octavo import _backend, nn
from octavo.qtensor import QTensor
from reference import assert_same_bits

Array = np.ndarray[Any, np.dtype[Any]]

pytestmark = pytest.mark.usefixtures("isa")

# in, out, kernel, options
CONVOLUTIONS = [
    (3, 8, (3, 3), {"stride": 2, "padding": "same"}),
    (16, 24, (1, 1), {"activation": "relu6"}),
    (17, 5, (2, 3), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}),
    (8, 12, (3, 3), {"padding": 1, "groups": 4, "activation": "relu"}),
]
DEPTHWISE = [
    (24, 24, (3, 3), {"padding": "same"}),
    (16, 16, (5, 5), {"stride": 2, "padding": "same", "activation": "relu6"}),
    (5, 15, (3, 2), {"padding": (2, 0), "dilation": (2, 1)}),
]


def padded(x: Array, layer: Any, fill: float) -> tuple[Array, tuple[int, int]]:
    """Return an image with what lies beside it, and the size of the output."""
    windows = layer._windows
    before, size, after = [], [], []
    for axis in (0, 1):
        extent, stride = x.shape[1 + axis], windows.stride[axis]
        reach = (windows.kernel[axis] - 1) * windows.dilation[axis] + 1
        if windows.padding == "same":
            size.append(-(-extent // stride))
            whole = max((size[-1] - 1) * stride + reach - extent, 0)
            before.append(whole // 2)
            after.append(whole - whole // 2)
        else:
            before.append(windows.padding[axis])
            after.append(windows.padding[axis])
            size.append((extent + 2 * before[-1] - reach) // stride + 1)
    beside = ((0, 0), *zip(before, after, strict=True), (0, 0))
    return np.pad(x, beside, constant_values=fill), (size[0], size[1])


def sums(x: Array, weight: Array, layer: Any, fill: float) -> Array:
    """Return the sums of a convolution, tap by tap; weight as the layer has it."""
    x, (height, width) = padded(x, layer, fill)
    windows = layer._windows
    rows = (np.arange(height) * windows.stride[0])[:, None]
    columns = np.arange(width) * windows.stride[1]
    total: Any = 0
    for i in range(windows.kernel[0]):
        for j in range(windows.kernel[1]):
            tap = x[:, rows + i * windows.dilation[0], columns + j * windows.dilation[1]]
            if layer.depthwise:
                times = weight.shape[2] // tap.shape[3]
                total = total + np.repeat(tap, times, axis=3) * weight[i, j]
                continue
            parts = zip(
                np.split(tap, layer.groups, 3), np.split(weight[:, i, j], layer.groups), strict=True
            )
            total = total + np.concatenate([part @ rows.T for part, rows in parts], 3)
    return np.asarray(total)


def made(
    rng: np.random.Generator, case: Any, depthwise: bool
) -> tuple[Array, Array, dict[str, Any]]:
    """Return a weight, a bias and options."""
    c, n, (height, width), options = case
    shape = (height, width, n) if depthwise else (n, height, width, c // options.get("groups", 1))
    weight, bias = rng.normal(0, 0.3, shape), rng.normal(0, 1, n)
    return weight.astype(np.float32), bias.astype(np.float32), dict(options)


KINDS = [
    *((case, False) for case in CONVOLUTIONS),
    *((case, True) for case in DEPTHWISE),
]


@pytest.mark.parametrize(("case", "depthwise"), KINDS)
def test_float_convolutions(rng: np.random.Generator, case: Any, depthwise: bool) -> None:
    weight, bias, options = made(rng, case, depthwise)
    layer = (nn.FloatDepthwiseConv2d if depthwise else nn.FloatConv2d)(weight, bias, **options)
    x = rng.normal(0, 1, (2, 9, 8, case[0])).astype(np.float32)
    exact = sums(x.astype(np.float64), weight, layer, 0) + bias
    low, high = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[layer.activation]
    np.testing.assert_allclose(layer(x), np.clip(exact, low, high), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("case", "depthwise"), KINDS)
def test_static_convolutions(rng: np.random.Generator, case: Any, depthwise: bool) -> None:
    weight, bias, options = made(rng, case, depthwise)
    scales = {"input_scale": 0.02, "input_zero_point": -11, "output_scale": 0.05}
    options |= {**scales, "output_zero_point": 7}
    kind = nn.DepthwiseConv2d if depthwise else nn.Conv2d
    layer = kind.from_float(weight, bias, **options)
    x = rng.integers(-128, 128, (2, 9, 8, case[0]), np.int8)
    product = np.float32(0.02) * layer.weight_scale
    exact = np.float64(np.float32(0.02)) * layer.weight_scale
    acc = sums(x.astype(np.int64) + 11, layer.weight.astype(np.int64), layer, 0)
    acc = acc + np.rint(bias / exact).astype(np.int64)
    t = acc.astype(np.float32) * (product / np.float32(0.05))
    low = -128 if layer.activation == "none" else 7
    high = min(127, np.rint(6 / 0.05) + 7) if layer.activation == "relu6" else 127
    expected = np.clip(np.rint(t) + 7, low, high).astype(np.int8)
    y = layer(QTensor(x, np.float32(0.02), -11))
    assert_same_bits(y.data, expected)
    assert (y.scale, y.zero_point) == (np.float32(0.05), 7)
    values = (x.astype(np.float32) + 11) * np.float32(0.02)
    assert_same_bits(layer(values).data, expected)


@pytest.mark.parametrize(("case", "depthwise"), KINDS)
def test_dynamic_convolutions(rng: np.random.Generator, case: Any, depthwise: bool) -> None:
    """Bits are those of the specification; values those of what the codes stand for."""
    weight, bias, options = made(rng, case, depthwise)
    kind = nn.DepthwiseConv2d if depthwise else nn.Conv2d
    layer = kind.from_float(weight, bias, **options)
    x = rng.normal(0, 1, (2, 9, 8, case[0])).astype(np.float32)
    y = layer(x)
    with _backend.use("numpy"):
        assert_same_bits(y, pickle.loads(pickle.dumps(layer))(x))
    low, high = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[layer.activation]
    for image, result in zip(x, y, strict=True):
        seen = image[None]
        if not depthwise:  # which computes with the values of its codes
            seen = octavo.quantize(seen, symmetric=False).dequantize()
        exact = sums(seen.astype(np.float64), layer.dequantized(), layer, 0) + bias
        np.testing.assert_allclose(result[None], np.clip(exact, low, high), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [case[3] for case in CONVOLUTIONS])
def test_float_convolution_is_that_of_torch(
    rng: np.random.Generator, options: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch")
    if options.get("padding") == "same":
        options = {**options, "padding": 1}
    weight = rng.normal(0, 0.3, (8, 3, 3, 4 // options.get("groups", 1))).astype(np.float32)
    x = rng.normal(0, 1, (2, 9, 8, 4)).astype(np.float32)
    y = nn.FloatConv2d(weight, **options)(x)
    options = {name: value for name, value in options.items() if name != "activation"}
    images, weights = (torch.from_numpy(one).permute(0, 3, 1, 2) for one in (x, weight))
    expected = torch.nn.functional.conv2d(images, weights, **options).permute(0, 2, 3, 1).numpy()
    inside = (y > 0) & (y < 6)
    np.testing.assert_allclose(y[inside], expected[inside], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    "options", [(2, 2, 0), ((3, 2), (1, 2), (1, 0)), (3, 2, 1), (None, None, 0)]
)
def test_pools(rng: np.random.Generator, kind: str, options: Any) -> None:
    layer: Any = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}[kind](*options)
    x = rng.normal(0, 1, (2, 7, 6, 19)).astype(np.float32)
    kernel = layer.kernel_size or (7, 6)
    windows = layer._windows(kernel)
    rows, columns = (
        np.arange(windows._along(axis, x.shape[1 + axis])[0]) * windows.stride[axis]
        - windows.padding[axis]
        for axis in (0, 1)
    )
    codes = octavo.quantize(x)
    coded = layer(codes)
    y = layer(x)
    assert y.shape == coded.shape == (2, len(rows), len(columns), 19)
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            part = np.s_[:, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]]
            if kind == "max":
                assert_same_bits(y[:, i, j], x[part].max((1, 2)))
                assert_same_bits(coded.data[:, i, j], codes.data[part].max((1, 2)))
            else:
                np.testing.assert_allclose(y[:, i, j], x[part].mean((1, 2)), atol=1e-6)
                mean = codes.data[part].astype(np.float64).mean((1, 2))
                assert np.abs(coded.data[:, i, j] - mean).max() <= 0.5 + 1e-5


def coded(values: Array) -> QTensor:
    return octavo.quantize(values, symmetric=False)


OUTPUT = {"output_scale": 0.03, "output_zero_point": -20}


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.ReLU6(**OUTPUT), lambda x: np.clip(x, 0, 6)),
        (nn.Hardswish(**OUTPUT), lambda x: x * np.clip(x + 3, 0, 6) / 6),
        (
            nn.PReLU(np.linspace(-1, 1, 17, dtype=np.float32), **OUTPUT),
            lambda x: np.where(x < 0, x * np.linspace(-1, 1, 17), x),
        ),
    ],
    ids=["relu6", "hardswish", "prelu"],
)
def test_functions_of_values(rng: np.random.Generator, layer: Any, function: Any) -> None:
    layer = pickle.loads(pickle.dumps(layer))  # nothing that another backend made
    x = rng.uniform(-5, 5, (2, 3, 17)).astype(np.float32)
    np.testing.assert_allclose(layer(x), function(x.astype(np.float64)), rtol=1e-6, atol=1e-6)
    q = coded(x)
    y, exact = layer(q), function(q.dequantize().astype(np.float64))
    exact = np.clip(exact, (-128 + 20) * 0.03, (127 + 20) * 0.03)
    # Half a step, and what quantizing 17 slopes to 255 levels costs.
    slack = 5 / 254 if isinstance(layer, nn.PReLU) else 1e-5
    assert np.abs(y.dequantize() - exact).max() <= 0.015 + slack


def test_sums_and_joins(rng: np.random.Generator) -> None:
    a, b = (rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    assert_same_bits(nn.Add()(a, b), a + b)
    assert_same_bits(nn.Add("relu6")(a, b), np.clip(a + b, 0, 6))
    assert_same_bits(nn.Concatenate(1)([a, b]), np.concatenate([a, b], 1))
    q, r = coded(a), octavo.quantize(b)
    y = nn.Add("relu", output_scale=0.05, output_zero_point=-128)(q, r)
    exact = np.clip(q.dequantize() + r.dequantize(), 0, 255 * 0.05)
    assert np.abs(y.dequantize() - exact).max() <= 0.025 + 1e-5
    joined = nn.Concatenate()([q, r])
    assert_same_bits(joined.data[..., :5], q.data)
    inside = np.clip(b, q.dequantize().min(), q.dequantize().max())
    assert np.abs(joined.dequantize()[..., 5:] - inside).max() <= (q.scale + r.scale) / 2 + 1e-5
    assert nn.Concatenate()([q, q]).scale == q.scale


@pytest.mark.parametrize("options", [{}, {"mode": "bilinear"}, {"align_corners": True}])
def test_upsample_is_that_of_torch(rng: np.random.Generator, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch")
    if options.get("align_corners"):
        options = {**options, "mode": "bilinear"}
    x = rng.integers(-100, 100, (2, 4, 5, 3)).astype(np.float32)
    layer = nn.Upsample((7, 10), **options)
    expected = torch.nn.Upsample((7, 10), **options)(torch.from_numpy(x).permute(0, 3, 1, 2))
    expected = expected.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(layer(x), expected, atol=1e-4)
    codes = layer(QTensor(x.astype(np.int8), 0.5)).data
    assert np.abs(codes - expected).max() <= 0.5 + 1e-4
    assert nn.Upsample(scale_factor=(2, 3))(x).shape == (2, 8, 15, 3)


def test_softmax(rng: np.random.Generator) -> None:
    x = rng.normal(0, 2, (2, 3, 10)).astype(np.float32)
    assert_same_bits(nn.Softmax()(x), octavo.functional.softmax(x))
    y = nn.Softmax()(coded(x))
    assert np.abs(y.dequantize() - nn.Softmax()(coded(x).dequantize())).max() <= 1 / 256


def test_what_layers_say_of_themselves(rng: np.random.Generator) -> None:
    weight, bias, options = made(rng, CONVOLUTIONS[2], False)
    x = rng.normal(0, 1, (1, 9, 8, 17)).astype(np.float32)
    layers: list[Any] = [
        nn.FloatConv2d.from_float(weight, bias, **options),
        nn.Conv2d.from_float(weight, **options),
        nn.Conv2d.from_float(weight, bias, input_scale=0.1, output_scale=0.1, **options),
        nn.DepthwiseConv2d.from_float(weight[:, 0].T.reshape(17, 3, 5)[:2], padding="same"),
    ]
    for layer in layers[:3]:
        again = type(layer).from_state_dict(layer.state_dict(), **layer.config())
        y, z = layer(x), again(x)
        assert_same_bits(*(one.data if isinstance(one, QTensor) else one for one in (y, z)))
        assert layer.nbytes == sum(value.nbytes for value in layer.state_dict().values())
    assert repr(layers[1]) == (
        "Conv2d(17, 5, kernel_size=(2, 3), stride=(2, 1), padding=(1, 2), dilation=(1, 2))"
    )
    assert repr(layers[3]) == "DepthwiseConv2d(5, kernel_size=(2, 3), padding='same')"
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2))"
    for rows in (1, 2, 3, 4, 5, 6):  # more shapes than programs are kept
        many = np.repeat(x, rows, 0)
        assert_same_bits(layers[1](many)[-1], layers[1](x)[0])


def test_many_threads_share_a_layer(rng: np.random.Generator) -> None:
    layer = nn.Conv2d.from_float(rng.normal(0, 1, (8, 3, 3, 4)), padding=1)
    images = [rng.normal(0, 1, (1 + i % 6, 9, 8, 4)).astype(np.float32) for i in range(24)]
    expected = [nn.Conv2d.from_float(layer.dequantized(), padding=1)(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        for y, z in zip(pool.map(layer, images), expected, strict=True):
            np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-5)


ONES = np.ones((4, 3, 3, 2), np.float32)
X = np.zeros((1, 8, 8, 2), np.float32)
REFUSED = [
    ("weight: expected shape (any, any, any, any)", lambda: nn.Conv2d.from_float(ONES[0])),
    ("weight: expected finite values", lambda: nn.Conv2d.from_float(ONES * np.nan)),
    ("weight: expected at least one element", lambda: nn.FloatConv2d(ONES[:0])),
    ("bias: expected shape (4,), got (3,)", lambda: nn.FloatConv2d(ONES, np.ones(3))),
    ("groups: expected a divisor of 4 outputs, got 3", lambda: nn.FloatConv2d(ONES, groups=3)),
    ("groups: expected 1, got 2", lambda: nn.FloatDepthwiseConv2d(ONES[0], groups=2)),
    ("stride: expected a value in [1,", lambda: nn.FloatConv2d(ONES, stride=0)),
    ("padding: expected", lambda: nn.FloatConv2d(ONES, padding="full")),
    ("dilation: expected one number or two", lambda: nn.FloatConv2d(ONES, dilation=(1, 1, 1))),
    ("activation: expected", lambda: nn.FloatConv2d(ONES, activation="gelu")),
    ("output_scale: expected one beside", lambda: nn.Conv2d.from_float(ONES, input_scale=1.0)),
    ("scale: expected shape", lambda: nn.Conv2d(ONES.astype(np.int8), np.ones(3, np.float32))),
    ("codes: expected int8", lambda: nn.Conv2d(ONES, 1.0)),
    ("x: expected 2 channels", lambda: nn.FloatConv2d(ONES)(X[..., :1])),
    ("x: expected a divisor of 2", lambda: nn.FloatDepthwiseConv2d(ONES[0])(X.repeat(2, 3))),
    ("x: expected shape (batch, height,", lambda: nn.FloatConv2d(ONES)(X[0])),
    ("x: expected at least one window", lambda: nn.FloatConv2d(ONES)(X[:, :2])),
    ("x: expected at least one element", lambda: nn.FloatConv2d(ONES)(X[:0])),
    ("x: expected float32, got a QTensor", lambda: nn.FloatConv2d(ONES)(coded(X))),
    ("x: expected float32 for", lambda: nn.Conv2d.from_float(ONES)(coded(X))),
    ("x: expected a QTensor", lambda: nn.Conv2d.from_float(ONES, output_scale=1.0)(X)),
    ("x: expected codes of int8", lambda: nn.ReLU6()(octavo.quantize(X, dtype="uint8"))),
    ("b: expected shape", lambda: nn.Add()(X, X[:, :1])),
    ("a, b: expected float32, or QTensors and", lambda: nn.Add()(coded(X), coded(X))),
    ("inputs: expected", lambda: nn.Concatenate()([X, coded(X)])),
    ("inputs[1]: expected shape", lambda: nn.Concatenate()([X, X[:, :2]])),
    ("weight: expected finite", lambda: nn.PReLU([np.inf])),
    ("x: expected shape (..., 3)", lambda: nn.PReLU(np.ones(3))(X)),
    ("size: expected either", nn.Upsample),
    ("align_corners: expected False", lambda: nn.Upsample(2, align_corners=True)),
]


@pytest.mark.parametrize(("message", "call"), REFUSED)
def test_errors_name_the_argument(message: str, call: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert str(error.value).startswith(message)

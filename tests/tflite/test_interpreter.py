# SPDX-License-Identifier: Apache-2.0
"""Models of TensorFlow Lite files, called like functions and through the interpreter's calls."""

from __future__ import annotations

import platform
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from octavo import runtime, tflite
from tflite_files import MODELS, Draft, float_model, integer_model, quantization

if TYPE_CHECKING:
    from collections.abc import Callable

X = np.random.default_rng(5).standard_normal((1, 4, 4, 3)).astype(np.float32)


def interpreter(**more: Any) -> tflite.Interpreter:
    made = tflite.Interpreter(model_content=float_model().bytes(), **more)
    made.allocate_tensors()
    return made


def litert(content: bytes) -> Any:
    module = pytest.importorskip("ai_edge_litert.interpreter")
    made = module.Interpreter(model_content=content)
    made.allocate_tensors()
    return made


def test_a_model_is_a_function() -> None:
    model = tflite.load(float_model().bytes())
    assert repr(model) == "<Model x (-1, 4, 4, 3) float32 -> y (-1, 2, 2, 5) float32>"
    result = model(X)
    assert isinstance(result, np.ndarray)
    assert result.shape == (1, 2, 2, 5)
    assert np.allclose(result.sum(axis=-1), 1)
    for named in ({"x": X}, {"image": X}):
        assert np.array_equal(model(**named), result)
    together = model(np.concatenate([X, -X, X]))  # the file foresees any batch
    assert np.array_equal(together[[0, 2]], np.concatenate([result, result]))
    assert np.array_equal(model(X), result)


def test_several_outputs_come_as_a_tuple() -> None:
    draft = float_model()
    draft.graph["outputs"] = [3, 4]
    first, second = tflite.load(draft.bytes())(X)
    assert np.allclose(np.exp(first) / np.exp(first).sum(-1, keepdims=True), second)


def test_resize() -> None:
    model = tflite.load(integer_model().bytes())
    x = np.zeros((1, 6, 2, 3), np.int8)
    with pytest.raises(ValueError, match=r"x: expected shape \(1, 4, 4, 3\), got \(1, 6, 2, 3\)"):
        model(x)
    model.resize({"x": (1, 6, 2, 3)})
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((1, 6, 2, 3), (1, 6, 2, 5))
    assert model(x).shape == (1, 6, 2, 5)
    with pytest.raises(ValueError, match="conv_2d"):
        model.resize({"x": (1, 6, 2, 4)})
    assert model(x).shape == (1, 6, 2, 5)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, r"expected 1 inputs \(x \(-1, 4, 4, 3\) float32\), got 0"),
        ((X, X), {}, "expected 1 inputs .*, got 2"),
        ((X,), {"x": X}, "x: expected it once, got it twice"),
        ((), {"x": X, "image": X}, "image: expected it once, got it twice"),
        ((), {"nothing": X}, r"expected names \['x', 'image'\], got 'nothing'"),
        ((X.astype(np.float64),), {}, "x: expected float32, got float64"),
    ],
)
def test_arguments_that_do_not_fit(
    arguments: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        tflite.load(float_model().bytes())(*arguments, **named)


@pytest.mark.parametrize("name", MODELS)
def test_details_are_those_of_litert(name: str) -> None:
    content = MODELS[name]().bytes()
    made, other = tflite.Interpreter(model_content=content), litert(content)
    made.allocate_tensors()
    for call in ("get_input_details", "get_output_details"):
        found, expected = getattr(made, call)(), getattr(other, call)()
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.keys() == theirs.keys()
            for key, value in theirs.items():
                _same(ours[key], value)
    assert made.get_signature_list() == other.get_signature_list()


def _same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert theirs.keys() - ours.keys() <= {"block_size"}  # newer than TensorFlow 2.20
        for key, value in ours.items():
            _same(value, theirs[key])
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", MODELS)
def test_results_are_those_of_litert(name: str) -> None:
    content = MODELS[name]().bytes()
    made, other = tflite.Interpreter(model_content=content), litert(content)
    made.allocate_tensors()
    (given,), (result,) = made.get_input_details(), made.get_output_details()
    rng = np.random.default_rng(6)
    is_float = given["dtype"] is np.float32
    x = rng.standard_normal(given["shape"]) * 1 if is_float else rng.integers(0, 99, given["shape"])
    for one in (made, other):
        one.set_tensor(given["index"], x.astype(given["dtype"]))
        one.invoke()
    ours, theirs = (one.get_tensor(result["index"]) for one in (made, other))
    # Codes may differ by one where LiteRT rounds twice.
    bound = 1e-6 * (1 + np.abs(theirs).max()) if is_float else 1
    assert np.abs(ours.astype(np.float64) - theirs).max() <= bound


@pytest.mark.skipif(platform.machine() != "x86_64", reason="XNNPACK rounds otherwise elsewhere")
def test_codes_of_convolutions_are_those_of_xnnpack() -> None:
    """All of a million: multipliers that were rounded once gave others for some."""
    draft, rng = Draft(), np.random.default_rng(8)
    scales = rng.uniform(6e-3, 9e-3, 64).astype(np.float32)
    x = draft.tensor("x", (1, 128, 128, 32), "int8", quantization=quantization(0.037, 5))
    y = draft.tensor("y", (1, 128, 128, 64), "int8", quantization=quantization(0.11, -4))
    weight = rng.integers(-127, 128, (64, 1, 1, 32)).astype(np.int8)
    bias = rng.integers(-9999, 9999, 64).astype(np.int32)
    w = draft.constant("w", weight, quantization=quantization(scales, np.zeros(64)))
    b = draft.constant(
        "b", bias, quantization=quantization(np.float32(0.037) * scales, np.zeros(64))
    )
    draft.operator("conv_2d", [x, w, b], [y], 3, stride_w=1, stride_h=1)
    draft.graph |= {"inputs": [x], "outputs": [y]}
    other, codes = litert(draft.bytes()), rng.integers(-128, 128, (1, 128, 128, 32), np.int8)
    other.set_tensor(x, codes)
    other.invoke()
    assert np.array_equal(tflite.load(draft.bytes())(codes), other.get_tensor(y))


def test_tensors() -> None:
    made = interpreter()
    assert not made.get_tensor(4).any()
    made.set_tensor(0, X)
    made.invoke()
    result = made.get_tensor(4)
    assert np.array_equal(result, tflite.load(float_model().bytes())(X))
    assert made.get_tensor(1).shape == (5, 3, 3, 3)  # a constant
    made.tensor(0)()[...] = 0  # not a copy
    assert not made.get_tensor(0).any()
    made.invoke()
    assert not np.array_equal(made.get_tensor(4), result)
    assert np.array_equal(made.tensor(4)(), made.get_tensor(4))


def test_all_tensors_are_kept_on_request() -> None:
    made = interpreter(experimental_preserve_all_tensors=True)
    made.set_tensor(0, X)
    made.invoke()
    between, result = made.get_tensor(3), made.get_tensor(4)
    assert np.allclose(np.exp(between) / np.exp(between).sum(-1, keepdims=True), result)
    assert [one["index"] for one in made.get_output_details()] == [4]


def test_resized_inputs() -> None:
    made = interpreter()
    made.resize_tensor_input(0, [2, 4, 4, 3], strict=True)
    with pytest.raises(RuntimeError, match=r"allocate_tensors\(\) first"):
        made.invoke()
    made.allocate_tensors()
    assert made.get_output_details()[0]["shape"].tolist() == [2, 2, 2, 5]
    made.set_tensor(0, np.concatenate([X, X]))
    made.allocate_tensors()  # nothing has changed, nothing is lost
    made.invoke()
    assert made.get_tensor(4).shape == (2, 2, 2, 5)
    with pytest.raises(ValueError, match=r"tensor_size: expected \(-1, 4, 4, 3\), got"):
        made.resize_tensor_input(0, [1, 8, 4, 3], strict=True)
    made.resize_tensor_input(0, [1, 4, 4, 7])
    with pytest.raises(ValueError, match="conv_2d"):
        made.allocate_tensors()


def test_signatures() -> None:
    made = interpreter()
    run = made.get_signature_runner()
    assert run.get_input_details()["image"]["index"] == 0
    assert run.get_output_details()["scores"]["index"] == 4
    for batch in (1, 3, 1):
        found = run(image=np.repeat(X, batch, axis=0))
        assert found.keys() == {"scores"}
        assert np.array_equal(found["scores"], np.repeat(found["scores"][:1], batch, axis=0))
    with pytest.raises(ValueError, match=r"expected inputs \['image'\], got \['x'\]"):
        run(x=X)
    with pytest.raises(ValueError, match=r"one of \['serving_default'\], got 'other'"):
        made.get_signature_runner("other")
    draft = float_model()
    draft.values["subgraphs"].append(draft.graph)
    draft.values["signature_defs"].append({"signature_key": "train", "subgraph_index": 1})
    both = tflite.Interpreter(model_content=draft.bytes())
    assert [*both.get_signature_list()] == ["serving_default"]
    with pytest.raises(ValueError, match="'train' is another subgraph's; only the first runs"):
        both.get_signature_runner("train")
    without = tflite.Interpreter(model_content=integer_model().bytes())
    assert without.get_signature_list() == {}
    with pytest.raises(ValueError, match=r"one of \[\], got None"):
        without.get_signature_runner()


WRONG: list[tuple[Callable[[tflite.Interpreter], Any], type[Exception], str]] = [
    (lambda made: made.set_tensor(0, X.astype("f8")), ValueError, "float32 for 'x', got float64"),
    (lambda made: made.set_tensor(0, X[0]), ValueError, r"shape \(1, 4, 4, 3\) for 'x', got"),
    (lambda made: made.set_tensor(4, X), ValueError, r"an input, one of \[0\], got 4"),
    (lambda made: made.set_tensor(5, X), ValueError, r"tensor_index: expected a value in \[0, 4\]"),
    (lambda made: made.set_tensor(0, None), TypeError, "value: expected an array"),
    (lambda made: made.get_tensor(-1), ValueError, r"tensor_index: .*, got -1"),
    (lambda made: made.get_tensor(3), ValueError, "experimental_preserve_all_tensors"),
    (lambda made: made.resize_tensor_input(1, [1]), ValueError, "an input"),
    (lambda made: made.resize_tensor_input(0, [-1, 4, 4, 3]), ValueError, "tensor_size"),
]


@pytest.mark.parametrize(("act", "kind", "message"), WRONG)
def test_calls_that_do_not_fit(
    act: Callable[[tflite.Interpreter], Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        act(interpreter())


def test_calls_out_of_order() -> None:
    made = tflite.Interpreter(model_content=float_model().bytes())
    for act in (made.invoke, lambda: made.set_tensor(0, X), lambda: made.get_tensor(4)):
        with pytest.raises(RuntimeError, match=r"allocate_tensors\(\) first"):
            act()
    assert made.get_tensor(1).shape == (5, 3, 3, 3)


def test_what_it_is_made_of() -> None:
    content = float_model().bytes()
    for wrong in ({}, {"model_path": "x", "model_content": content}):
        with pytest.raises(ValueError, match="model_path or model_content, got both or neither"):
            tflite.Interpreter(**wrong)
    assert tflite.Interpreter(None, content, None, 1).get_input_details()[0]["name"] == "x"
    with pytest.raises(ValueError, match="octavo runs on CPUs alone"):
        tflite.Interpreter(model_content=content, experimental_delegates=["a delegate"])
    with pytest.raises(ValueError, match="num_threads: expected a value"):
        tflite.Interpreter(model_content=content, num_threads=0)


def test_threads_are_its_own() -> None:
    before = runtime.get_num_threads()
    try:
        runtime.set_num_threads(1)
        made = interpreter(num_threads=2)
        made.set_tensor(0, X)
        made.invoke()
        assert runtime.get_num_threads() == 1
        assert np.array_equal(made.get_tensor(4), tflite.load(float_model().bytes())(X))
    finally:
        runtime.set_num_threads(before)


def test_calls_from_several_threads() -> None:
    model = tflite.load(float_model().bytes())
    expected, wrong = model(X), []

    def call(batch: int) -> None:
        for _ in range(20):
            found = model(np.repeat(X, batch, axis=0))
            if not np.array_equal(found, np.repeat(expected, batch, axis=0)):
                wrong.append(batch)

    threads = [threading.Thread(target=call, args=(batch,)) for batch in (1, 2, 3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong

# SPDX-License-Identifier: Apache-2.0
"""The converter to ``.tflite`` files as users of TensorFlow Lite type it, and the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from graphs import Draft
from octavo import cli, tflite
from octavo.graph import Graph, Session, Signature

if TYPE_CHECKING:
    from pathlib import Path

CONV = {"padding": "same", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1}
CONV |= {"dilation_h_factor": 1, "fused_activation_function": "relu"}
FUNCTION = "representative_dataset"


def model(kind: str = "relu") -> Graph:
    """Return a model of two inputs with a signature."""
    draft, rng = Draft(), np.random.default_rng(0)
    image, shift = draft.input(1, 4, 4, 3), draft.input(1, 4, 4, 16)
    weight = draft.constant(rng.standard_normal((16, 3, 3, 3)).astype(np.float32))
    made = draft.op("conv_2d", image, weight, draft.constant(np.zeros(16)), **CONV)
    made = draft.op(kind, draft.op("add", made, shift, fused_activation_function="none"))
    graph = draft.done(made)
    graph.signatures = [Signature("serve", {"image": image, "shift": shift}, {"y": made})]
    return graph


def inputs(seed: int = 0, batch: int = 1) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    shapes = (batch, 4, 4, 3), (batch, 4, 4, 16)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


def typical() -> Any:
    for seed in range(20):
        yield list(inputs(seed))


def converter(graph: Graph | None = None, dataset: Any = typical) -> octavo.Converter:
    made = octavo.Converter.from_tflite(tflite.to_bytes(graph or model()))
    made.optimizations = [octavo.Optimize.DEFAULT]
    made.representative_dataset = dataset
    return made


def types(content: bytes) -> list[str]:
    graph = tflite.read(content).graph
    return [graph.tensors[i].dtype.name for i in graph.inputs + graph.outputs]


def near(content: bytes, graph: Graph | None = None) -> bool:
    x = inputs(50)
    (wanted,) = Session(graph or model())(*x)
    return bool(np.abs(tflite.load(content)(*x) - wanted).max() < 0.05 * np.abs(wanted).max())


def test_as_tensorflow_lite_taught(tmp_path: Path) -> None:
    tflite.save(model(), tmp_path / "float.tflite")
    converter = octavo.Converter.from_tflite(tmp_path / "float.tflite")
    x = inputs()
    (wanted,) = Session(model())(*x)
    np.testing.assert_array_equal(tflite.load(converter.convert())(*x), wanted)
    converter.optimizations = [octavo.Optimize.DEFAULT]
    assert near(converter.convert())
    converter.representative_dataset = typical
    converter.target_spec.supported_ops = [octavo.OpsSet.TFLITE_BUILTINS_INT8]
    content = converter.convert()
    assert near(content)
    assert types(content) == ["float32"] * 3
    converter.inference_input_type = np.int8
    converter.inference_output_type = np.uint8
    assert types(converter.convert()) == ["int8", "int8", "uint8"]
    converter.save(tmp_path / "small.tflite")
    assert (tmp_path / "small.tflite").read_bytes() == converter.convert()
    graph = tflite.read(tmp_path / "small.tflite").graph
    assert list(graph.signatures[0].inputs) == ["image", "shift"]
    assert [graph.tensors[i].name for i in graph.inputs] == ["t0", "t1"]


def test_half_precision() -> None:
    for way in ("optimizations", "supported_types"):
        made = converter(dataset=None)
        if way == "optimizations":
            made.optimizations = [octavo.Optimize.FLOAT16]
        else:
            made.target_spec.supported_types = [np.float16]
        content = made.convert()
        assert near(content)
        assert len(content) < len(tflite.to_bytes(model())) - 600


@pytest.mark.parametrize(
    "item",
    [
        inputs(),
        list(inputs()),
        dict(zip(("t0", "t1"), inputs(), strict=True)),
        dict(zip(("shift", "image"), inputs()[::-1], strict=True)),
        ("serve", dict(zip(("image", "shift"), inputs(), strict=True))),
        [x.astype(np.float64) for x in inputs()],
        [x[0] for x in inputs()],
        inputs(batch=3),
    ],
    ids=["tuple", "list", "tensors", "signature", "keyed", "float64", "no batch", "batches"],
)
def test_forms_of_items(item: Any) -> None:
    count = len(item[0]) if isinstance(item, tuple) and isinstance(item[0], np.ndarray) else 1
    batches = inputs(batch=count)
    singles = [[x[i : i + 1] for x in batches] for i in range(len(batches[0]))]
    expected = converter(dataset=lambda: iter(singles)).convert()
    assert converter(dataset=lambda: iter([item])).convert() == expected


@pytest.mark.parametrize(
    ("dataset", "error"),
    [
        (3, r"representative_dataset: expected .*, got int"),
        (lambda: 3, "representative_dataset: expected a function that yields inputs, it returned"),
        (lambda x: x, "representative_dataset: expected a function without arguments"),
        (lambda: iter([]), "representative_dataset: expected at least one input, got none"),
        (
            [inputs()[:1]],
            r"representative_dataset\[0\]: expected 2 arrays \(of 't0', 't1'\), got 1",
        ),
        ([inputs(), (*inputs(), 1)], r"dataset\[1\]: expected 2 arrays .*, got 3"),
        ([inputs()[::-1]], r"dataset\[0\]: input 't0': expected shape \(1, 4, 4, 3\)"),
        ([(inputs()[0], np.full((1, 4, 4, 16), np.nan))], "input 't1': expected finite values"),
        ([(inputs()[0].astype(np.uint8), inputs()[1])], "input 't0': expected float32 .*uint8"),
        ([("a", "b")], r"dataset\[0\]: expected a signature of \['serve'\], got 'a'"),
        ([{"image": inputs()[0]}], "dataset.0.: expected an array of input 't1', got none"),
        ([{"image": 1, "nonsense": 2}], "expected inputs of .*, got 'nonsense'"),
        ([{"image": inputs()[0], "t0": inputs()[0]}], "expected inputs of .*, got 't0'"),
        ([(inputs(batch=2)[0], inputs(batch=3)[1])], "as many samples each, got shapes"),
        ([(np.zeros((0, 4, 4, 3), np.float32), inputs()[1])], "'t0': expected shape"),
        ("no.txt", r"representative_dataset: expected an \.npz file of arrays, got no\.txt"),
    ],
)
def test_bad_datasets(dataset: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        converter(dataset=dataset).convert()


def test_a_dataset_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octavo.compression.graph_data.MOST_ITEMS", 3)

    def endless() -> Any:
        while True:
            yield inputs()

    with pytest.raises(ValueError, match="representative_dataset: expected at most 3 items"):
        converter(dataset=endless).convert()


def test_values_that_are_too_large() -> None:
    """What a graph makes of finite inputs may be infinite all the same."""
    huge = [np.full_like(x, 3e38) for x in inputs()]
    with pytest.raises(ValueError, match=r"tensor 't4': expected finite values"):
        converter(dataset=[huge]).convert()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"optimizations": ["sparse50"]}, "optimizations: recipe: expected one of int8, .* prune"),
        ({"optimizations": ["int4"]}, "optimizations: recipe: quantize: expected int8 or float16"),
        (
            {"optimizations": [{"quantize": {"smooth": 0.5}}]},
            "optimizations: recipe: quantize.smooth: graphs have no smooth; got 0.5",
        ),
        ({"inference_input_type": np.int16}, "inference_input_type: expected one of float32, int8"),
        ({"inference_output_type": "x"}, "inference_output_type: expected one of float32, int8"),
        ({"inference_input_type": None}, "inference_input_type: expected one of float32"),
        (
            {FUNCTION: None, "inference_input_type": np.int8},
            "inference_input_type: expected float32 without static int8",
        ),
        ({"optimizations": []}, "representative_dataset: expected optimizations beside it"),
        ({"optimizations": ["fp16"]}, "representative_dataset: expected none, this recipe"),
        (
            {"optimizations": ["int8-static"], FUNCTION: None},
            "representative_dataset: expected data",
        ),
    ],
)
def test_bad_attributes(changes: dict[str, Any], error: str) -> None:
    made = converter()
    for name, value in changes.items():
        setattr(made, name, value)
    with pytest.raises((TypeError, ValueError), match=error):
        made.convert()


def test_only_integers() -> None:
    made = converter(model("neg"))
    assert near(made.convert(), model("neg"))
    made.target_spec.supported_ops = {octavo.OpsSet.TFLITE_BUILTINS_INT8}
    with pytest.raises(ValueError, match=r"TFLITE_BUILTINS_INT8 alone: .* 't6' \(neg has no int8"):
        made.convert()
    made.target_spec.supported_ops = ["SELECT_TF_OPS"]
    with pytest.raises(ValueError, match=r"supported_ops: expected .*, got 'SELECT_TF_OPS'"):
        made.convert()
    made.target_spec.supported_ops = octavo.OpsSet.TFLITE_BUILTINS
    with pytest.raises(TypeError, match=r"supported_ops: expected a list"):
        made.convert()


def test_sources() -> None:
    with pytest.raises(
        NotImplementedError, match=r"saved_model_dir: 'x': .* Converter.from_tflite"
    ):
        octavo.Converter.from_saved_model("x")
    with pytest.raises(ValueError, match=r"model: expected a float graph, .* is int8"):
        octavo.Converter.from_tflite(converter().convert())
    with pytest.raises(FileNotFoundError):
        octavo.Converter.from_tflite("nowhere.tflite")


def test_from_torch() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
    ).eval()
    x = torch.randn(16, 3, 6, 6)
    made = octavo.Converter.from_torch(module, x[:1])
    made.optimizations = [octavo.Optimize.DEFAULT]
    made.representative_dataset = lambda: ([one[None]] for one in x)
    content = made.convert()
    with torch.no_grad():
        wanted = module(x[:1]).numpy()
    got = tflite.load(content)(np.moveaxis(x[:1].numpy(), 1, 3))
    assert np.abs(np.moveaxis(got, 3, 1) - wanted).max() < 0.02 * np.abs(wanted).max()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    return code, *capsys.readouterr()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, data = (tmp_path / name for name in ("m.tflite", "s.tflite", "images.npz"))
    tflite.save(model("neg"), source)
    np.savez(data, image=inputs(batch=9)[0], shift=inputs(batch=9)[1])
    words = ("compress", str(source), str(out), "--recipe", "int8-static")
    code, text, _ = run(capsys, *words, "--calibration", str(data))
    assert code == 0
    assert "2 operators in int8, 1 operators in float32" in text
    assert "float: t6: neg has no int8 form" in text
    assert near(out.read_bytes(), model("neg"))
    code, text, _ = run(capsys, *words, "--calibration", str(data), "--json")
    assert json.loads(text)["operators"] == {"int8": 2, "float32": 1}
    for more, error in (
        ((), "calibration: expected data, quantize.activations: static needs it"),
        (("--recipe", "int4"), "recipe: quantize: expected int8 or float16 of a graph, got int4"),
        (("--config", "x"), "--config: expected none with a .tflite file"),
        (("--calibration", str(source)), "calibration: expected an .npz file of arrays"),
    ):
        code, _, text = run(capsys, *words, *more)
        assert code == 1
        assert error in text
    code, _, text = run(capsys, "compress", str(source), str(source))
    assert code == 1
    assert "OUT is the model to compress" in text

# SPDX-License-Identifier: Apache-2.0
"""Weights of GGUF files: what runs as it is keeps its values, what does not is near and told."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import octavo
from decoder_gguf import write
from gguf_files import Stored, gguf_bytes, random_tensor
from octavo.io import open_gguf
from octavo.io.gguf.formats import LAYOUTS
from octavo.io.gguf.groups import GROUPED, Groups, groups_of
from octavo.io.gguf.regroup import ROUNDED, regrouped, values_of
from octavo.models import gguf_weights
from octavo.models.gguf_tensors import GgufTensors
from octavo.models.loader import load_with

if TYPE_CHECKING:
    from pathlib import Path

IDS = np.random.default_rng(0).integers(3, 100, (2, 20))
CONFIG = {**decoder_files.LLAMA, "hidden_size": 256, "intermediate_size": 512}
KINDS = {
    **dict.fromkeys(("Q4_0", "Q4_1", "Q4_K", "TQ1_0", "TQ2_0", "Q2_K"), "int4"),
    **dict.fromkeys(("Q5_0", "Q5_1", "Q5_K", "Q3_K"), "int5"),
    **dict.fromkeys(("Q8_0", "IQ4_NL", "IQ4_XS", "MXFP4", "Q6_K"), "int8-group"),
    **dict.fromkeys(("F32", "F16", "BF16"), "int8"),
}
EXACT = sorted(set(GROUPED) - set(ROUNDED))


def model_file(path: Path, *kinds: str, **changes: Any) -> Path:
    """A model whose matrices have these types in turn."""
    rng, count = np.random.default_rng(1), iter(range(100))

    def stored(name: str, values: np.ndarray) -> Stored:
        return random_tensor(name, values.shape, kinds[next(count) % len(kinds)], rng, 1e-3)

    return write(path, CONFIG, stored, **changes)


def layers_of(model: Any) -> dict[str, Any]:
    found = {name: layer for name, layer in model.named_modules() if getattr(layer, "kind", "")}
    assert len(found) == 15
    return found


@pytest.mark.parametrize("kind", EXACT)
def test_it_has_the_values_of_the_file(tmp_path: Path, kind: str) -> None:
    """All bits, in the order of transformers' rows; also the table, and the logits' layer."""
    path = model_file(tmp_path / "x.gguf", kind)
    found, wanted = octavo.models.load(path), load_with(path, None)
    assert found.rounded == ()
    for name, layer in layers_of(wanted).items():
        held = layers_of(found)[name].held_weight
        assert held.kind == KINDS[kind]
        values = layer.held_weight.values
        np.testing.assert_array_equal(held.dequantized(), values, strict=True)
        np.testing.assert_array_equal(np.signbit(held.dequantized()), np.signbit(values))
    np.testing.assert_array_equal(found.model.embed(IDS[0]), wanted.model.embed(IDS[0]))


def test_other_types_are_rounded_and_told(tmp_path: Path) -> None:
    kinds = ("Q6_K", "Q3_K", "F16", "Q2_K", "Q4_K")
    path = model_file(tmp_path / "x.gguf", *kinds)
    found, wanted = octavo.models.load(path), load_with(path, None)
    exact, file = layers_of(wanted), open_gguf(path)
    told = {one.type: one for one in found.rounded}
    assert set(told) == set(kinds) - {"Q4_K"}
    for name, one in told.items():
        tensors = [tensor for tensor in file.tensors.values() if tensor.dtype == name]
        assert one.kind == KINDS[name]
        sizes = (len(tensors), sum(tensor.nbytes for tensor in tensors))
        assert (one.tensors, one.file_bytes) == sizes
    off, norm, nbytes = 0.0, 0.0, 0
    for name, layer in layers_of(found).items():
        values = exact[name].held_weight.values
        # Types go round with the tensors, and a layer of them has one of each kind but two.
        if layer.kind == "int8-group":
            off += np.square(layer.held_weight.dequantized() - values, dtype=np.float64).sum()
            norm += np.square(values, dtype=np.float64).sum()
            nbytes += layer.held_weight.nbytes
    assert told["Q6_K"].nbytes == nbytes
    assert told["Q6_K"].error == pytest.approx(np.sqrt(off / norm), rel=1e-6)
    assert 0.001 < told["Q6_K"].error < 0.006
    assert 0.005 < told["Q3_K"].error < 0.045
    assert 0.01 < told["Q2_K"].error < 0.09
    assert str(told["Q6_K"]).startswith("Q6_K became int8-group: 3 tensors, ")


@pytest.mark.parametrize("kind", ROUNDED)
def test_rounding_is_to_the_nearest(tmp_path: Path, kind: str) -> None:
    """Of all codes; and of two groups that become one, that with the larger scale stays."""
    tensor = random_tensor("x", (16, 512), kind, np.random.default_rng(2))
    (tmp_path / "x.gguf").write_bytes(gguf_bytes({}, (tensor,)))
    file = open_gguf(tmp_path / "x.gguf")
    given, values = groups_of(kind, file.packed("x")), file.float32("x")
    np.testing.assert_array_equal(values_of(given), values)
    made = regrouped(kind, given)
    assert (made.size, made.codes.dtype) == (32, np.int8)
    assert all(bits is None for bits in (made.scale_steps, made.minimum_steps))
    least, most = {"Q6_K": (-128, 127), "Q3_K": (-16, 15), "Q2_K": (0, 15)}[kind]
    codes = np.arange(least, most + 1, dtype=np.float32)
    grid = codes * made.scales()[..., None]
    if made.minima() is not None:
        grid += made.minima()[..., None]  # type: ignore[index]
    groups = values.reshape(16, -1, 32)
    best = np.abs(groups[..., None] - grid[:, :, None]).min(axis=3)
    off = np.abs(values_of(made).reshape(groups.shape) - groups)
    np.testing.assert_allclose(off, best, atol=1e-7, rtol=1e-5)
    if kind != "Q2_K":
        halves = np.abs(given.scales().reshape(16, -1, 2))
        larger = np.abs(off.reshape(16, -1, 2, 16))[
            np.arange(16)[:, None], np.arange(16), halves.argmax(2)
        ]
        assert (larger <= 2.0**-11 * np.abs(values).max()).all()


def test_two_groups_of_one_scale_stay_as_they_are() -> None:
    codes = np.tile(np.arange(-32, 32, dtype=np.int8), (1, 4))
    given = Groups(codes, np.full((1, 16), 0.25, np.float32))
    np.testing.assert_array_equal(values_of(regrouped("Q6_K", given)), values_of(given))


@pytest.mark.parametrize(
    ("kind", "field"),
    [("Q4_0", "d"), ("Q4_1", "d"), ("Q5_1", "m"), ("Q8_0", "d"), ("F16", "w")]
    + [(kind, field) for kind in ("Q4_K", "Q5_K", "Q2_K") for field in "dm"]
    + [("Q6_K", "d"), ("MXFP4", "d")],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, kind: str, field: str, value: float
) -> None:
    def stored(name: str, values: np.ndarray) -> Stored:
        made = random_tensor(name, values.shape, kind, np.random.default_rng(0))
        if name != "blk.1.attn_k.weight":
            return made
        blocks = np.frombuffer(made.data, LAYOUTS[kind]).copy()
        if kind == "MXFP4":
            blocks[field][-1] = 255  # a power of two: most values are infinite
        else:
            blocks[field].view(np.float16)[-1] = value
        return made._replace(data=blocks.tobytes())

    file = write(tmp_path / "bad.gguf", CONFIG, stored)
    place = r"bad\.gguf: tensor 'model\.layers\.1\.self_attn\.k_proj\.weight': "
    with pytest.raises(ValueError, match=rf"{place}(scale|minimum|weight).*(NaN|finite)"):
        octavo.models.load(file)


def test_no_matrix_is_made_whole_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_weights, "_STEP_BYTES", 1 << 16)
    for kind in (*EXACT, *ROUNDED, "F16"):
        tensor = random_tensor("x.weight", (4096, 512), kind, np.random.default_rng(0))
        (tmp_path / "x.gguf").write_bytes(gguf_bytes({"general.architecture": "a"}, (tensor,)))
        tensors = GgufTensors(open_gguf(tmp_path / "x.gguf"), {})
        tracemalloc.start()
        weight = gguf_weights.GgufWeights(tensors).get("x", (4096, 512))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert weight is not None
        assert peak < 3 * 4096 * 512


def test_saved_and_shared_it_is_the_same_model(tmp_path: Path) -> None:
    path = model_file(tmp_path / "x.gguf", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_K", "Q8_0", "Q6_K")
    model = octavo.models.load(path)
    expected = model(IDS)
    model.save(tmp_path / "out")
    np.testing.assert_array_equal(octavo.models.load(tmp_path / "out")(IDS), expected)
    for _ in range(2):
        np.testing.assert_array_equal(octavo.models.load(path, shared=True)(IDS), expected)

# SPDX-License-Identifier: Apache-2.0
"""octavo.nn.SparseLinear: the bits of Linear in every format, from anything sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
from octavo import Linear
from octavo.nn import SparseLinear
from octavo.qtensor import QTensor
from octavo.sparse import SparseMatrix
from reference import assert_same_bits

pytestmark = pytest.mark.usefixtures("isa")

Array = np.ndarray[Any, np.dtype[Any]]
FORMATS = ("auto", "dense", *octavo.tuning.SPARSE_FORMATS)
ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh")


def pruned(rng: np.random.Generator, n: int, k: int, share: float) -> Array:
    codes = rng.integers(-127, 128, (n, k)).astype(np.int8)
    codes[rng.random((n, k)) < share] = 0
    return codes


def pair(codes: Array, format: str, **options: Any) -> tuple[SparseLinear, Linear]:
    """The sparse layer and the dense one of the same parts."""
    n = len(codes)
    rng = np.random.default_rng(n)
    scale = rng.uniform(0.001, 0.1, n).astype(np.float32)
    bias = rng.normal(0, 1, n).astype(np.float32)
    sparse = SparseLinear.from_quantized(codes, scale, bias, format=format, **options)
    return sparse, Linear.from_quantized(codes, scale, bias, **options)


def check(codes: Array, format: str, rows: tuple[int, ...] = (1, 3, 17), **options: Any) -> None:
    sparse, dense = pair(codes, format, **options)
    if format != "auto":
        assert sparse.format == format
    rng = np.random.default_rng(0)
    for m in rows:
        x = rng.normal(0, 1, (m, codes.shape[1])).astype(np.float32)
        assert_same_bits(sparse(x), dense(x))
    assert_same_bits(sparse.weight_codes, codes)


def codes_of(name: str, rng: np.random.Generator) -> Array:
    codes = pruned(rng, 48, 200, 0.8)
    if name == "all zero":
        codes[:] = 0
    elif name == "no zeros":
        codes[codes == 0] = 1
    elif name == "rows of zeros":
        codes[[0, 17, 47]] = 0
    elif name == "a full row":
        codes[5] = -127
    elif name == "columns of zeros":
        codes[:, 64:130] = 0
    elif name == "one code":
        codes[:] = 0
        codes[-1, -1] = 127
    elif name == "blocks":
        codes *= np.kron(rng.random((3, 50)) < 0.3, np.ones((16, 4), np.bool_))
    elif name == "2:4":
        codes[:] = 3
        codes[:, ::4] = codes[:, 1::4] = 0
    return codes


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name",
    [
        *("all zero", "no zeros", "rows of zeros", "a full row", "columns of zeros"),
        *("one code", "2:4", "blocks", "unstructured"),
    ],
)
@pytest.mark.usefixtures("threads")
def test_patterns(rng: np.random.Generator, name: str, format: str) -> None:
    check(codes_of(name, rng), format, rows=(1, 5, 70))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "shape",
    [
        *((0, 0), (0, 5), (3, 0), (1, 1), (5, 1), (17, 3), (15, 64), (16, 65), (33, 63)),
        *((40, 130), (150, 700)),
    ],
    ids=str,
)
def test_shapes(rng: np.random.Generator, shape: tuple[int, int], format: str) -> None:
    check(pruned(rng, *shape, 0.7), format, rows=(0, 1, 2, 33))


@pytest.mark.parametrize("format", FORMATS)
def test_the_widest_layers(rng: np.random.Generator, format: str) -> None:
    codes = np.zeros((18, 65536), np.int8)
    codes[:, rng.choice(65536, 300, replace=False)] = rng.integers(-127, 128, (18, 300))
    codes[0, -1] = codes[17, 0] = 127
    check(codes, format, rows=(1, 2))
    wider = np.pad(codes, ((0, 0), (0, 1)))
    wider[1, -1] = -5
    if format in octavo.tuning.SPARSE_FORMATS:
        with pytest.raises(ValueError, match=rf"^format: '{format}' takes at most 65536 inputs"):
            SparseLinear.from_quantized(wider, 1.0, format=format)
    else:
        check(wider, format, rows=(1, 2))
        assert SparseLinear.from_quantized(wider, 1.0, format=format).format == "dense"


@given(st.data())
def test_any_layer(data: st.DataObject) -> None:
    m, n, k = (data.draw(st.integers(0, 90)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    options = {
        "activation": data.draw(st.sampled_from(ACTIVATIONS)),
        "symmetric": data.draw(st.booleans()),
    }
    codes = pruned(rng, n, k, data.draw(st.floats(0, 1)))
    sparse, dense = pair(codes, data.draw(st.sampled_from(FORMATS)), **options)
    x = (rng.normal(0, 1, (m, k)) * 10.0 ** rng.integers(-30, 30, (m, 1))).astype(np.float32)
    residual = rng.normal(0, 1, (m, n)).astype(np.float32) if data.draw(st.booleans()) else None
    assert_same_bits(sparse(x, residual), dense(x, residual))


@pytest.mark.parametrize("format", FORMATS)
def test_static_scales_and_quantized_input(rng: np.random.Generator, format: str) -> None:
    codes = pruned(rng, 40, 70, 0.8)
    x = rng.normal(0, 1, (9, 70)).astype(np.float32)
    residual = rng.normal(0, 1, (9, 40)).astype(np.float32)
    sparse, dense = pair(codes, format, input_scale=0.02, input_zero_point=-7)
    assert_same_bits(sparse(x, residual), dense(x, residual))
    sparse, dense = pair(codes, format, output_scale=0.05, output_zero_point=11, activation="relu")
    y, wanted = sparse(x, residual), dense(x, residual)
    assert isinstance(y, QTensor)
    assert_same_bits(y.data, wanted.data)
    assert (y.scale, y.zero_point) == (wanted.scale, wanted.zero_point)
    sparse, dense = pair(codes, format)
    rows = QTensor(*octavo.quantize_dynamic(x), axis=0)
    assert_same_bits(sparse(rows), dense(rows))
    assert_same_bits(sparse(rows), sparse(x))
    bad = x.copy()
    bad[2, 3], bad[5, 0] = np.nan, -np.inf
    assert np.isnan(sparse(bad)[[2, 5]]).all()
    assert_same_bits(sparse(bad), dense(bad))
    assert_same_bits(sparse(x[:, ::-1][:, ::-1]), dense(x))


def test_attributes(rng: np.random.Generator) -> None:
    weight = rng.normal(0, 1, (32, 100)).astype(np.float32)
    weight[:, 10:] = 0
    layer = SparseLinear.from_float(weight, np.ones(32), format="windowed64", activation="gelu")
    assert (layer.format, layer.in_features, layer.out_features) == ("windowed64", 100, 32)
    assert layer.sparsity == 1 - np.count_nonzero(layer.weight_codes) / 3200
    assert repr(layer) == (
        "SparseLinear(in_features=100, out_features=32, activation='gelu', sparsity=0.90,"
        " format='windowed64')"
    )
    dense = Linear.from_float(weight, np.ones(32), activation="gelu")
    assert_same_bits(layer.weight, dense.weight)
    assert layer.nbytes < dense.nbytes / 2
    assert layer.config() == {**dense.config(), "format": "windowed64"}
    assert_same_bits(layer.to_sparse().to_dense(), dense.weight)
    assert SparseLinear.from_quantized(np.zeros((0, 4), np.int8), 1.0).sparsity == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(16, 16), (70, 130), (256, 300), (600, 64)], ids=str)
def test_auto_is_never_larger(rng: np.random.Generator, shape: Any, share: float) -> None:
    auto, dense = pair(pruned(rng, *shape, share), "auto")
    assert auto.nbytes <= dense.nbytes * 1.01
    assert auto.format == octavo.tuning.choose(auto.weight_codes)


SCIPY = ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"]


@pytest.mark.parametrize("kind", SCIPY)
@pytest.mark.parametrize("family", ["array", "matrix"])
def test_scipy(rng: np.random.Generator, kind: str, family: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    codes = pruned(rng, 12, 20, 0.8)
    make = getattr(sparse, f"{kind}_{family}")
    assert_same_bits(SparseLinear.from_quantized(make(codes), 0.1).weight_codes, codes)
    weight = (codes * np.float32(0.03)).astype(np.float32)
    wanted = Linear.from_float(weight)
    for dtype in (np.float32, np.float64):
        layer = SparseLinear.from_float(make(weight.astype(dtype)))
        assert_same_bits(layer.weight_codes, wanted.weight_codes)
        assert_same_bits(layer.weight_scale, wanted.weight_scale)
    with pytest.raises(TypeError, match=r"^codes: expected int8, got int64"):
        SparseLinear.from_quantized(make(codes.astype(np.int64)), 0.1)
    with pytest.raises(TypeError, match=r"^weight's values: expected float32 .* got int8"):
        SparseLinear.from_float(make(codes))


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support:UserWarning")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_torch(rng: np.random.Generator, layout: str) -> None:
    torch = pytest.importorskip("torch")
    codes = pruned(rng, 12, 20, 0.8)

    def make(array: Array) -> Any:
        tensor = torch.from_numpy(array)
        if layout in ("bsr", "bsc"):
            return getattr(tensor, f"to_sparse_{layout}")((3, 5))
        return tensor.to_sparse() if layout == "coo" else getattr(tensor, f"to_sparse_{layout}")()

    assert_same_bits(SparseLinear.from_quantized(make(codes), 0.1).weight_codes, codes)
    weight = (codes * np.float32(0.03)).astype(np.float32)
    layer = SparseLinear.from_float(make(weight))
    assert_same_bits(layer.weight_codes, Linear.from_float(weight).weight_codes)
    with pytest.raises(TypeError, match=r"^codes: expected int8, got float32"):
        SparseLinear.from_quantized(make(weight), 0.1)


def test_sparse_matrix(rng: np.random.Generator) -> None:
    weight = (pruned(rng, 12, 20, 0.8) * np.float32(0.03)).astype(np.float32)
    layer = SparseLinear.from_float(SparseMatrix.from_dense(weight))
    assert_same_bits(layer.weight, Linear.from_float(weight).weight)
    with pytest.raises(TypeError, match=r"^codes: expected int8, got float32"):
        SparseLinear.from_quantized(SparseMatrix.from_dense(weight), 1.0)


def test_duplicates_add_up_or_are_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    torch = pytest.importorskip("torch")
    for first, second, total in ((100, 27, 127), (100, 28, 128), (-100, -100, -200), (-64, -64, 0)):
        values, places = np.array([first, second], np.int8), ([1, 1], [2, 2])
        for made in (
            sparse.coo_array((values, places), shape=(2, 3)),
            torch.sparse_coo_tensor(
                torch.tensor(places), torch.from_numpy(values), (2, 3), check_invariants=True
            ),
        ):
            if total == 127:
                codes = SparseLinear.from_quantized(made, 1.0).weight_codes
                assert codes.tolist() == [[0, 0, 0], [0, 0, 127]]
                continue
            wanted = f"sums of duplicates, got {total}" if total else r"\[-127, 127\], got -128"
            with pytest.raises(ValueError, match=rf"^codes: expected .*{wanted}"):
                SparseLinear.from_quantized(made, 1.0)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("kind", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("attribute", ["indices", "indptr"])
@pytest.mark.parametrize("value", [10**6, -5, 2**31 - 1])
def test_corrupt_index_arrays(
    rng: np.random.Generator, dtype: Any, kind: str, attribute: str, value: int
) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    made = getattr(sparse, f"{kind}_array")(pruned(rng, 12, 20, 0.5).astype(dtype))
    getattr(made, attribute)[1] = value
    with pytest.raises(ValueError, match=rf"^{attribute}: expected"):
        make_from(made)


def make_from(matrix: Any) -> SparseLinear:
    if matrix.dtype == np.int8:
        return SparseLinear.from_quantized(matrix, 1.0)
    return SparseLinear.from_float(matrix)


def test_corrupt_diagonals() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    made = sparse.dia_array(np.ones((12, 20), np.int8))
    for offsets in (np.arange(3), np.zeros((3, 3), np.int64), np.arange(10**6)):
        made.offsets = offsets
        with pytest.raises(ValueError, match=r"^offsets: expected 31 \(one per diagonal\)"):
            SparseLinear.from_quantized(made, 1.0)


index = st.integers(-3, 12) | st.sampled_from([2**31 - 1, -(2**31), 10**6])


@given(st.sampled_from(["csr", "csc", "bsr", "coo"]), st.booleans(), st.data())
def test_any_scipy_arrays_are_taken_or_refused(kind: str, codes: bool, data: st.DataObject) -> None:
    """Index arrays of any values and lengths: an exception, or the sum of what they say."""
    sparse = pytest.importorskip("scipy.sparse")
    made = getattr(sparse, f"{kind}_array")(np.eye(4, 6, dtype=np.int8 if codes else np.float32))
    names = ["row", "col"] if kind == "coo" else ["indices", "indptr"]
    arrays = [
        np.array(data.draw(st.lists(index, max_size=8)), np.int32)
        if data.draw(st.booleans())
        else np.array(getattr(made, name), np.int32)
        for name in names
    ]
    if kind == "coo":
        made.coords = tuple(arrays)
    else:
        made.indices, made.indptr = arrays
    try:
        layer = make_from(made)
    except ValueError as error:
        assert str(error).partition(":")[0] in {  # noqa: PT017 - it may also be taken
            *("indices", "indptr", "values", "rows", "columns", "codes", "weight"),
        }
        return
    assert layer.weight_codes.shape == (4, 6)


WRONG = [
    (ValueError, "format: expected one of auto, dense, windowed16, windowed64", {"format": "coo"}),
    (TypeError, "format: expected a string, got NoneType", {"format": None}),
]


@pytest.mark.parametrize(("error", "message", "options"), WRONG)
def test_wrong_options(error: Any, message: str, options: Any) -> None:
    with pytest.raises(error, match=message):
        SparseLinear.from_float(np.eye(3, dtype=np.float32), **options)
    with pytest.raises(error, match=message):
        SparseLinear.from_quantized(np.eye(3, dtype=np.int8), 1.0, **options)


def test_wrong_parts() -> None:
    with pytest.raises(ValueError, match=r"^codes: expected values in \[-127, 127\], got -128"):
        SparseLinear.from_quantized(np.full((3, 3), -128, np.int8), 1.0)
    with pytest.raises(ValueError, match=r"^weight: expected finite"):
        SparseLinear.from_float(np.full((2, 2), np.nan, np.float32))

# SPDX-License-Identifier: Apache-2.0
"""Index arrays that another thread writes to once they are checked: what was checked is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import _backend, _checks
from octavo.sparse import coordinates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WRONG = 1 << 45


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """Return an array that holds nothing but wrong numbers as soon as somebody has looked at it."""
    convert = _checks.as_ids
    arrays: list[Any] = []

    def as_ids(x: Any, *args: Any, **options: Any) -> Any:
        found = convert(x, *args, **options)
        if any(x is array for array in arrays):
            # The other thread writes once the array is taken, before it is checked or after.
            x[...] = WRONG
        return found

    monkeypatch.setattr(_checks, "as_ids", as_ids)
    monkeypatch.setattr("octavo.models.encoder.as_ids", as_ids)

    def watched(values: Any) -> Any:
        arrays.append(np.array(values, np.int64))
        return arrays[-1]

    yield watched
    assert arrays
    assert all((array == WRONG).all() for array in arrays)


def test_own_ids_are_copies() -> None:
    for dtype in ("int64", "int32", "uint8", ">i8"):
        given = np.arange(6, dtype=dtype)
        for array in (given, given[::2], given.reshape(2, 3).T):
            own = _checks.as_ids(array, "x", own=True)
            assert own.dtype == np.int64
            assert not np.may_share_memory(own, given)
            np.testing.assert_array_equal(own, array)
    same = np.arange(3)
    assert _checks.as_ids(same, "x") is same


TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.mark.parametrize(
    "table",
    [
        octavo.Embedding.from_float(TABLE),
        octavo.nn.FloatEmbedding(TABLE),
        octavo.nn.HalfEmbedding(TABLE.astype(np.float16)),
    ],
    ids=["int8", "float32", "half"],
)
def test_rows_of_a_table(table: Any, spoil: Callable[[Any], Any]) -> None:
    wanted = np.asarray(table.weight)[[1, 9]]
    np.testing.assert_array_equal(table(spoil([1, 9])), wanted)


def test_token_ids(tmp_path: Path, spoil: Callable[[Any], Any]) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path))
    checked = model.checked(spoil([[1, 2]]), None, spoil([[0, 1]]))
    np.testing.assert_array_equal(checked[0], [[1, 2]])
    np.testing.assert_array_equal(checked[2], [[0, 1]])


def test_csr(spoil: Callable[[Any], Any]) -> None:
    made = octavo.sparse.SparseMatrix.from_csr
    numbers = np.array([0.5, 2], np.float32)
    matrix = made(spoil([0, 1, 2]), [2, 0], numbers, (2, 3))
    np.testing.assert_array_equal(matrix.to_dense(), [[0, 0, 0.5], [2, 0, 0]])
    matrix = made([0, 1, 2], spoil([2, 0]), numbers, (2, 3))
    np.testing.assert_array_equal(matrix.to_dense(), [[0, 0, 0.5], [2, 0, 0]])


def test_coordinates(spoil: Callable[[Any], Any]) -> None:
    found = coordinates.check_range(spoil([0, 2]), 3, "rows", "rows")
    np.testing.assert_array_equal(found, [0, 2])
    found = coordinates.check_pointers(spoil([0, 2]), 1, 2)
    np.testing.assert_array_equal(found, [0, 2])


def test_zero_points(spoil: Callable[[Any], Any]) -> None:
    points = spoil([3, 4])
    made = octavo.functional.quantize_linear(
        np.zeros((2, 1), np.float32), np.ones(2, np.float32), points, axis=0
    )
    np.testing.assert_array_equal(made, [[3], [4]])


def test_a_mask_is_read_once(tmp_path: Path) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path))

    class Mask:
        """An array that holds something else when it is looked at again."""

        reads = 0

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            self.reads += 1
            return np.array([[1, 1, 0]] if self.reads == 1 else [[1, 0, 0]])

    mask = Mask()
    got = model.encode([[4, 5, 6]], mask)
    assert mask.reads == 1
    np.testing.assert_array_equal(got, model.encode([[4, 5, 6]], [[1, 1, 0]]))


def test_torch_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    import octavo.torch

    table = octavo.torch.Embedding.from_float(torch.nn.Embedding(10, 4))
    ids = torch.tensor([1, 9])
    wanted = table(ids)
    look_up = _backend.backend.embedding

    def late(codes: Any, scale: Any, rows: Any, out: Any) -> None:
        ids.fill_(WRONG)
        look_up(codes, scale, rows, out)

    monkeypatch.setattr(_backend.backend, "embedding", late)
    assert torch.equal(table(ids), wanted)

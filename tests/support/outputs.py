# SPDX-License-Identifier: Apache-2.0
"""What every function and layer with an `out` keeps to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from octavo.qtensor import QTensor
from reference import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Array = np.ndarray[Any, np.dtype[Any]]


class Named(np.ndarray[Any, Any]):
    """A subclass with elements like any other's, as `numpy.memmap` is."""


def check_out(
    call: Callable[..., Any], inputs: Mapping[str, Array], in_place: tuple[str, ...] = ()
) -> None:
    """Check ``call(**inputs, out=...)``: where the result goes, its bits, and what is refused.

    `inputs` are arrays that are read as they are, without a copy; `in_place` those that the output
    may be.
    """
    wanted = _array(call(**inputs)).copy()
    for kind in (np.ndarray, Named):
        out = np.full(wanted.shape, 77, wanted.dtype).view(kind)
        made = call(**inputs, out=out)
        # The codes of a QTensor are a plain array.
        assert _array(made) is out or (isinstance(made, QTensor) and kind is Named)
        assert_same_bits(np.asarray(out), wanted)
    for error, wrong in _wrong(wanted):
        with pytest.raises(error, match=r"^out: expected"):
            call(**inputs, out=wrong)
    for name, array in inputs.items():
        memory = np.zeros(array.nbytes + wanted.nbytes + 64, np.uint8)
        over = memory[: array.nbytes].view(array.dtype).reshape(array.shape)
        over[...] = array
        before, start = memory.copy(), (array.nbytes - 1) // 8 * 8
        out = memory[start : start + wanted.nbytes].view(wanted.dtype).reshape(wanted.shape)
        with pytest.raises(
            ValueError, match=rf"^out: expected memory that does not overlap {name}"
        ):
            call(**{**inputs, name: over}, out=out)
        assert_same_bits(memory, before)
        if array.shape == wanted.shape and array.dtype == wanted.dtype:
            again = array.copy()
            if name in in_place:
                assert_same_bits(call(**{**inputs, name: again}, out=again), wanted)
            else:
                with pytest.raises(ValueError, match=rf"does not overlap {name}$"):
                    call(**{**inputs, name: again}, out=again)


def _wrong(wanted: Array) -> list[tuple[type[Exception], Any]]:
    shape, dtype = wanted.shape, wanted.dtype
    read_only = wanted.copy()
    read_only.flags.writeable = False
    bytes_ = np.zeros(wanted.nbytes + 1, np.uint8)
    odd = [(ValueError, bytes_[1:].view(dtype).reshape(shape))] * (dtype.itemsize > 1)
    swapped = [(TypeError, wanted.astype(dtype.newbyteorder()))] * (dtype.itemsize > 1)
    return [
        (TypeError, wanted.tolist()),
        (TypeError, np.ma.masked_array(wanted)),
        (TypeError, wanted.astype(np.float64)),
        (ValueError, wanted[None]),
        (ValueError, np.concatenate([wanted, wanted])),
        (ValueError, np.repeat(wanted, 2, axis=-1)[..., ::2]),
        (ValueError, read_only),
        *odd,
        *swapped,
    ]


def _array(made: Any) -> Array:
    if isinstance(made, QTensor):
        made = made.data
    array: Array = made[0] if isinstance(made, tuple) else made
    return array

# SPDX-License-Identifier: Apache-2.0
"""Results have the bits that another machine had; `recorded.py` says how those are written."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest

import recorded
from octavo import runtime


@pytest.mark.parametrize("family", recorded.FAMILIES)
def test_the_recorded_bits(isa: str, family: str) -> None:
    if family in recorded.BY_BLAS and not runtime.has_fma():
        pytest.skip("BLAS computes float32 layers in NumPy's backend, and without multiply-adds")
    message = recorded.mismatch(family, recorded.FAMILIES[family](), isa)
    assert message is None, message


def test_every_family_is_recorded() -> None:
    assert list(json.loads(recorded.FILE.read_text("utf-8"))) == list(recorded.FAMILIES)


def test_one_bit_is_seen_and_named() -> None:
    results = [np.array(result) for result in recorded.FAMILIES["softmax"]()]
    nan = np.isnan(results[0])
    assert nan.any()
    results[0][nan] = -results[0][nan]
    assert recorded.mismatch("softmax", results, "avx9") is None
    results[-1].view(np.int32)[3, 5] ^= 1
    message = recorded.mismatch("softmax", results, "avx9")
    assert message is not None
    assert message.startswith(f"softmax, tier avx9, on {platform.machine()} (")

# SPDX-License-Identifier: Apache-2.0
"""DeepSparse's linear layer: float32, its weight's zeros left out of the work.

The library's last release (1.8.0, 2025) wants NumPy 1 and Python up to 3.11, so it needs an
environment of its own.
"""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from octavo._types import Array
from octavo.bench.peers.base import Bind, Call, Layer, Peer
from octavo.bench.peers.onnx_linear import linear_model


def prepare(layer: Layer) -> Bind:
    """Compile the layer for the shape of each input: the engine knows fixed shapes only."""
    deepsparse: Any = import_module("deepsparse")

    def bind(x: Array) -> Call:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "layer.onnx")
            path.write_bytes(linear_model(layer, rows=len(x)).SerializeToString())
            engine = deepsparse.Engine(str(path), batch_size=len(x), num_cores=layer.threads)
        return lambda: engine.run([x], val_inp=False)[0]

    return bind


def peers() -> list[Peer]:
    """Return DeepSparse's layer; ImportError where it, or onnx for its graph, is missing."""
    os.environ.setdefault("NM_DISABLE_ANALYTICS", "1")  # before the import, which reports home
    import_module("onnx")
    import_module("deepsparse")
    return [Peer("deepsparse float32", "float", prepare)]

# SPDX-License-Identifier: Apache-2.0
"""Whole-model peers: token ids and mask in, mean-pooled sentence vectors out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from octavo.bench.peers import exports
from octavo.bench.peers.base import attempt_all
from octavo.bench.peers.onnx_linear import session
from octavo.bench.peers.openvino_linear import settings
from octavo.bench.peers.torch_linear import ENGINES, dynamic_int8, start

Encode = Callable[[Any, Any], Any]


def torch_encoders(folder: Path, _workdir: Path, threads: int) -> dict[str, Encode]:
    """PyTorch in float32 and in dynamic int8."""
    torch: Any = import_module("torch")
    start(threads)
    model = exports.torch_encoder(folder, "sdpa")

    def encode(module: Any, ids: Any, mask: Any) -> Any:
        return module(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy()

    found: dict[str, Encode] = {"torch float32": partial(encode, model)}
    for engine in ENGINES[:3]:
        if engine in torch.backends.quantized.supported_engines:
            found[f"torch int8 {engine}"] = partial(encode, dynamic_int8(model, engine))
    return found


def ort_encoders(folder: Path, workdir: Path, threads: int) -> dict[str, Encode]:
    """ONNX Runtime in float32 and in dynamic int8."""

    def encode(runner: Any, ids: Any, mask: Any) -> Any:
        return runner.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    full, small = exports.onnx_files(folder, workdir)
    return {
        "ort float32": partial(encode, session(str(full), threads)),
        "ort dynamic int8": partial(encode, session(str(small), threads)),
    }


def openvino_encoders(folder: Path, workdir: Path, threads: int) -> dict[str, Encode]:
    """OpenVINO, from the same two ONNX files."""
    openvino: Any = import_module("openvino")
    core = openvino.Core()

    def encode(model: Any, ids: Any, mask: Any) -> Any:
        return model([ids, mask])[0]

    names = ("openvino float32", "openvino int8")
    return {
        name: partial(encode, core.compile_model(str(path), "CPU", settings(threads)))
        for name, path in zip(names, exports.onnx_files(folder, workdir), strict=True)
    }


def ctranslate2_encoders(folder: Path, workdir: Path, threads: int) -> dict[str, Encode]:
    """CTranslate2 in float32 and in int8."""
    ctranslate2: Any = import_module("ctranslate2")
    target = str(exports.ctranslate2_folder(folder, workdir))

    def encode(encoder: Any, ids: Any, mask: Any) -> Any:
        view = ctranslate2.StorageView.from_array
        tokens, lengths = view(ids.astype(np.int32)), view(mask.sum(1).astype(np.int32))
        hidden = np.array(encoder.forward_batch(tokens, lengths).last_hidden_state)
        weight = mask[..., None]
        return (hidden * weight).sum(1) / weight.sum(1)

    return {
        f"ctranslate2 {kind}": partial(
            encode,
            ctranslate2.Encoder(
                target, device="cpu", compute_type=kind, intra_threads=threads, inter_threads=1
            ),
        )
        for kind in ("float32", "int8")
    }


MAKERS = {
    "torch": torch_encoders,
    "onnxruntime": ort_encoders,
    "openvino": openvino_encoders,
    "ctranslate2": ctranslate2_encoders,
}


def find(folder: Path, workdir: Path, threads: int) -> tuple[dict[str, Encode], dict[str, str]]:
    """Return the encoders that can run here, and why the others cannot."""
    made, absent = attempt_all(
        {name: partial(make, folder, workdir, threads) for name, make in MAKERS.items()}
    )
    return {name: encode for some in made.values() for name, encode in some.items()}, absent

# SPDX-License-Identifier: Apache-2.0
"""A model folder in the forms that the peers read: PyTorch, ONNX, CTranslate2."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any


def torch_encoder(folder: Path, attention: str) -> Any:
    """Return transformers' model with mean pooling: (ids, mask) tensors in, vectors out."""
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    talk = transformers.utils.logging
    talk.set_verbosity_error()
    talk.disable_progress_bar()

    def forward(self: Any, input_ids: Any, attention_mask: Any) -> Any:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1)

    model = transformers.AutoModel.from_pretrained(str(folder), attn_implementation=attention)
    pooled: Any = type("Pooled", (torch.nn.Module,), {"forward": forward})()
    pooled.model = model.float().eval()
    return pooled.eval()


def onnx_files(folder: Path, workdir: Path) -> tuple[Path, Path]:
    """Export the model and quantize it (dynamic int8, per channel), once for a `workdir`."""
    full, small = workdir / "model.onnx", workdir / "model-int8.onnx"
    if not full.exists():
        torch: Any = import_module("torch")
        sample = torch.ones(2, 16, dtype=torch.long)
        axes = {0: "batch", 1: "tokens"}
        aside = full.with_suffix(".part")
        torch.onnx.export(
            torch_encoder(folder, "eager"),
            (sample, sample),
            str(aside),
            input_names=["input_ids", "attention_mask"],
            output_names=["y"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes},
            opset_version=17,
            dynamo=False,
        )
        aside.replace(full)
    if not small.exists():
        tool: Any = import_module("onnxruntime.quantization")
        aside = small.with_suffix(".part")
        logging.disable(logging.WARNING)
        kind = tool.QuantType.QInt8
        tool.quantize_dynamic(str(full), str(aside), weight_type=kind, per_channel=True)
        aside.replace(small)
    return full, small


def ctranslate2_folder(folder: Path, workdir: Path) -> Path:
    """Convert the model for CTranslate2, once for a `workdir`."""
    ctranslate2: Any = import_module("ctranslate2")
    target = workdir / "ctranslate2"
    if not (target / "model.bin").exists():
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(target), force=True)
    return target

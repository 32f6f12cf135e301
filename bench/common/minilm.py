# SPDX-License-Identifier: Apache-2.0
"""The model of ``bench/model.py`` and the ONNX files that the peers need of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from octavo.demo.source import default_model


def model_folder(path: str | None) -> Path:
    """Return `path`, or the folder of the model that ``octavo demo`` takes."""
    if path:
        if not (Path(path) / "config.json").exists():
            raise SystemExit(f"{path}: expected a model folder with a config.json")
        return Path(path)
    try:
        return default_model()
    except FileNotFoundError as error:
        raise SystemExit(f"give --model FOLDER, or: {error}") from error


def torch_encoder(folder: Path, attention: str) -> Any:
    """Return transformers' model with mean pooling: (ids, mask) tensors in, vectors out."""
    import torch
    import transformers

    talk: Any = transformers.utils.logging
    talk.set_verbosity_error()
    talk.disable_progress_bar()

    class Pooled(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.model(
                input_ids=input_ids, attention_mask=attention_mask
            ).last_hidden_state
            weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return (hidden * weight).sum(1) / weight.sum(1)

    model = transformers.AutoModel.from_pretrained(str(folder), attn_implementation=attention)
    return Pooled(model.float().eval()).eval()


def onnx_files(folder: Path, workdir: Path) -> tuple[Path, Path]:
    """Export the model and quantize it (dynamic int8, per channel), once for a `workdir`."""
    full, small = workdir / "model.onnx", workdir / "model-int8.onnx"
    if not full.exists():
        import torch

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
        from onnxruntime.quantization import QuantType, quantize_dynamic

        aside = small.with_suffix(".part")
        logging.disable(logging.WARNING)
        quantize_dynamic(str(full), str(aside), weight_type=QuantType.QInt8, per_channel=True)
        aside.replace(small)
    return full, small


def ctranslate2_folder(folder: Path, workdir: Path) -> Path:
    """Convert the model for CTranslate2, once for a `workdir`."""
    import ctranslate2

    target = workdir / "ctranslate2"
    if not (target / "model.bin").exists():
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(target), force=True)
    return target

# SPDX-License-Identifier: Apache-2.0
"""octavo under PyTorch: one call turns the layers of a model into int8 ones, in place.

`quantize_` is the verb, `Int8Dynamic` or `Int4Dynamic` says how, the `Summary` it returns says what
became of each layer.  `Linear`, `SparseLinear`, `Embedding` and `Conv2d` are what a converted layer
is; `int_mm` is the exact integer product, and `plug_in` puts it under libraries that compute with
`torch._int_mm`.
`prune` holds pruning while training, `prune_` applies it to a whole model.  `distill` trains a
small model to give what a large one gives, `student_of` makes one of its layers.

How a weight is a tensor
------------------------
A layer keeps its weight once, in the memory that it computes with, and that memory is also a torch
tensor (or some): of a dense int8 weight the packed codes, of shape (panels, groups, width, group),
and the scales.  The operators of `torch.ops.octavo` take a list of tensors and a text that says
what they are, so `torch.compile` and `torch.export` treat a weight of any kind like any other
tensors.  An operator that is handed a layer's own memory computes with the layer; copies (in an
exported program loaded in another process, say) become a layer on first use, kept as long as the
copies live.
The memory of a weight without zeros depends on its format. Compiled graphs know it by its scales;
exported programs hold a bitmap and the non-zero codes, which are made when one is first traced.
State dicts and pickles hold plain codes and scales, the same on every machine.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401  (only to say what is missing)
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError('octavo.torch needs PyTorch: pip install "octavo[torch]"') from error

from octavo.torch import distillation, prune
from octavo.torch.adaround import adaround_
from octavo.torch.config import CONFIGS, AdaRound, Int4Dynamic, Int8Dynamic, Int8Training
from octavo.torch.conv import Conv2d
from octavo.torch.convert import quantize_
from octavo.torch.distillation import Distilled, distill, student_of
from octavo.torch.dynamic import quantize_dynamic
from octavo.torch.embedding import Embedding
from octavo.torch.encoder import to_encoder
from octavo.torch.exported import to_graph
from octavo.torch.integer import int_mm
from octavo.torch.linear import Linear
from octavo.torch.plugins import PlugIn, plug_in
from octavo.torch.prepare import convert_qat_, prepare_qat_
from octavo.torch.prune import prune_
from octavo.torch.qat import QatConv2d, QatEmbedding, QatLinear
from octavo.torch.share import SharedEmbedding, SharedLinear, share_, with_shared
from octavo.torch.sparse_linear import SparseLinear
from octavo.torch.summary import Converted, Kept, Summary

__all__ = [
    "CONFIGS",
    "AdaRound",
    "Conv2d",
    "Converted",
    "Distilled",
    "Embedding",
    "Int4Dynamic",
    "Int8Dynamic",
    "Int8Training",
    "Kept",
    "Linear",
    "PlugIn",
    "QatConv2d",
    "QatEmbedding",
    "QatLinear",
    "SharedEmbedding",
    "SharedLinear",
    "SparseLinear",
    "Summary",
    "adaround_",
    "convert_qat_",
    "distill",
    "distillation",
    "int_mm",
    "plug_in",
    "prepare_qat_",
    "prune",
    "prune_",
    "quantize_",
    "quantize_dynamic",
    "share_",
    "student_of",
    "to_encoder",
    "to_graph",
    "with_shared",
]

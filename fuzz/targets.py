# SPDX-License-Identifier: Apache-2.0
"""Everything that can be tried, by name."""

from __future__ import annotations

from fuzz import chats, decoders, gguf, gguf_models, graphs, packed, pickles, texts, tflite, weights
from octavo import _backend
from octavo.io import segment

TARGETS = {
    target.name: target
    for target in (
        *weights.TARGETS,
        *texts.TARGETS,
        pickles.TARGET,
        gguf.TARGET,
        gguf_models.TARGET,
        chats.TARGET,
        decoders.TARGET,
        packed.TARGET,
        tflite.TARGET,
        graphs.TARGET,
    )
}
if _backend.name == "native":
    from fuzz import caches, graph_programs, native, programs, segments

    TARGETS["native"] = native.TARGET
    TARGETS["program"] = programs.TARGET
    TARGETS["graph-program"] = graph_programs.TARGET
    TARGETS["cache"] = caches.TARGET
    if segment.missing() is None:
        TARGETS["segment"] = segments.TARGET

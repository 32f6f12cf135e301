# SPDX-License-Identifier: Apache-2.0
"""llama.cpp, by the functions of its library: the same tokens at the same places as ours."""

from __future__ import annotations

import ctypes
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from octavo._types import Float32
from octavo.bench import decoder
from octavo.bench.peers.base import attempt_all

_PASS_TOKENS = 512
_FILE_TYPES = ("Q8_0", "Q4_0")


class LlamaCpp:
    """A file in llama.cpp; each case has a context of its own."""

    def __init__(self, path: Path, threads: int) -> None:
        self._library: Any = import_module("llama_cpp")
        self._threads = threads
        given = self._library.llama_model_default_params()
        self._model = self._library.llama_model_load_from_file(str(path).encode(), given)
        if not self._model:
            raise ValueError("llama.cpp does not read the file")

    def step(self, batch: int, tokens: int) -> decoder.Step:
        """Return what runs a case of `octavo.bench.decoder`."""
        library = self._library
        vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(self._model))
        before, new = decoder.make_ids(batch, tokens, vocabulary)
        context = self._context(batch, tokens)
        memory = library.llama_get_memory(context)
        start = 0
        if tokens == 1:
            self._run(context, self._batch(before, 0))
            start = decoder.CONTEXT
        asked = self._batch(new, start)

        def step() -> Float32:
            library.llama_memory_seq_rm(memory, -1, start, -1)
            self._run(context, asked)
            rows = [(index + 1) * tokens - 1 for index in range(batch)]
            found = [library.llama_get_logits_ith(context, row) for row in rows]
            return np.stack([np.ctypeslib.as_array(one, (vocabulary,)) for one in found])

        return step

    def _context(self, batch: int, tokens: int) -> Any:
        options = self._library.llama_context_default_params()
        options.n_seq_max = batch
        options.n_ctx = batch * 2 * (decoder.CONTEXT + tokens)
        options.n_batch = batch * max(decoder.CONTEXT, tokens)
        options.n_ubatch = _PASS_TOKENS
        options.n_threads = options.n_threads_batch = self._threads
        context = self._library.llama_init_from_model(self._model, options)
        if not context:
            raise RuntimeError("llama.cpp made no context")
        return context

    def _batch(self, ids: Any, start: int) -> Any:
        """Return a batch of the tokens, which asks for the logits behind the last of each row."""
        made = self._library.llama_batch_init(ids.size, 0, 1)
        made.n_tokens = ids.size
        for index, token in enumerate(ids.ravel().tolist()):
            sequence, place = divmod(index, ids.shape[1])
            made.token[index], made.pos[index] = token, start + place
            made.n_seq_id[index], made.seq_id[index][0] = 1, sequence
            made.logits[index] = place == ids.shape[1] - 1
        return made

    def _run(self, context: Any, batch: Any) -> None:
        status = self._library.llama_decode(context, batch)
        if status:
            raise RuntimeError(f"llama.cpp ended with {status}")


def _converted(path: Path, workdir: Path, name: str) -> Path:
    """Return the file with its weights in another type."""
    library: Any = import_module("llama_cpp")
    target = workdir / f"{name}.gguf"
    if not target.exists():
        options = library.llama_model_quantize_default_params()
        options.ftype = getattr(library, f"LLAMA_FTYPE_MOSTLY_{name}")
        options.allow_requantize, options.pure = True, True
        given = (str(path).encode(), str(target).encode(), ctypes.byref(options))
        if library.llama_model_quantize(*given):
            raise ValueError(f"llama.cpp does not make {name} of the file")
    return target


def find(path: Path, workdir: Path, threads: int) -> tuple[dict[str, LlamaCpp], dict[str, str]]:
    """Return llama.cpp with the file as it is, with 8 and with 4 bits; or why it is absent."""
    try:
        library: Any = import_module("llama_cpp")
    except Exception as error:  # it may lack its library, or fail in loading it
        return {}, {"llama.cpp": f"{type(error).__name__}: {error}"}
    if path.is_dir():
        return {}, {"llama.cpp": "it reads GGUF files alone"}
    _be_silent(library)

    def make(name: str) -> LlamaCpp:
        return LlamaCpp(_converted(path, workdir, name), threads)

    made = {f"llama.cpp {name}": partial(make, name) for name in _FILE_TYPES}
    return attempt_all({"llama.cpp": partial(LlamaCpp, path, threads), **made})


def _be_silent(library: Any) -> None:
    library.llama_log_set(_kept.setdefault("log", library.llama_log_callback(_ignore)), None)


def _ignore(*_: Any) -> None:
    """Take a message."""


# The library keeps the address alone.
_kept: dict[str, Any] = {}

# SPDX-License-Identifier: Apache-2.0
"""Keys and values of a text's tokens, kept so that what follows need not compute them again."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import _backend, _checks
from octavo._files import replaced_file
from octavo._text import shown
from octavo.io.safetensors import TensorFile, TensorPlan, write_tensor_file
from octavo.models.cached_attention import FloatKeyValues
from octavo.models.fingerprint import fingerprint

if TYPE_CHECKING:
    from octavo._types import Array
    from octavo.lora.adapter import Adapter
    from octavo.models.decoder import Decoder
    from octavo.models.decoder_config import DecoderConfig

_FORMAT = "octavo keys and values 1"
_PARTS = {
    "int8": ("key_codes", "key_scale", "value_codes", "value_scale"),
    "float32": ("keys", "values"),
}
PRECISIONS = tuple(_PARTS)


class Cache:
    """Keys and values of the tokens of one text; a `Decoder` computes with it what follows.

    It serves one call at a time, and refuses a second one; of a text that branches off, `fork` it.

    Parameters
    ----------
    model : Decoder
    precision : "int8" or "float32", optional
        How they are held: in codes of 8 bits, of each token and head with a scale of its own, or as
        they are, in nearly four times the memory and slower. Default: as the model's
        ``attention_precision`` says.

    Attributes
    ----------
    ids : list of int
        The tokens.
    precision : str
    adapter : octavo.lora.Adapter or None
        What keys and values were computed with, beside the base; at first the one in use.

    Examples
    --------
    >>> import octavo
    >>> def answers(model, document, questions):
    ...     cache = octavo.models.Cache(model)
    ...     model(document, cache)
    ...     return [model.generate(document + q, 64, cache=cache.fork()) for q in questions]
    """

    def __init__(self, model: Decoder, precision: str | None = None) -> None:
        if not hasattr(model, "attention_precision"):
            raise TypeError(f"model: expected a Decoder, got {type(model).__name__}")
        if precision is None:
            precision = "float32" if model.attention_precision == "float32" else "int8"
        self.precision = _checks.choice(precision, "precision", PRECISIONS)
        self.ids: list[int] = []
        self.adapter = model.adapters.get(model.active_adapter or "")
        self._model, self._fingerprint = model, fingerprint(model)
        self._use = threading.Lock()
        config = model.config
        make = FloatKeyValues
        if precision == "int8":
            make = _backend.backend.KeyValueCache
        self._held: Any = make(config.layers, config.kv_heads, config.head_size)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Cache(tokens={len(self)}, precision={self.precision!r})"

    @property
    def held(self) -> Any:
        """What holds keys and values, as attention takes it."""
        return self._held

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return int(self._held.nbytes)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Have the cache for oneself in a ``with`` block.

        Raises
        ------
        RuntimeError
            If somebody has it, be it in this thread: it is not waited for.
        """
        if not self._use.acquire(blocking=False):
            raise RuntimeError(
                "cache: expected one for each call, got one that another uses, or a stream that"
                " has not ended"
            )
        try:
            yield
        finally:
            self._use.release()

    def truncate(self, tokens: int) -> None:
        """Forget all tokens behind the first so many."""
        with self.alone():
            _checks.integer(tokens, "tokens", 0, len(self.ids))
            self.settle(tokens)

    def settle(self, tokens: int | None = None) -> None:
        """Do what `truncate` does, for who has the cache alone.

        Without a number, forget what a call that was stopped has left in some layers.
        """
        if tokens is not None:
            del self.ids[tokens:]
        self._held.truncate(len(self.ids))

    def fork(self) -> Cache:
        """Return a cache of the same tokens, to be continued apart from this one."""
        made = object.__new__(Cache)
        with self.alone():
            vars(made).update(vars(self), ids=list(self.ids), _held=self._held.fork())
        made._use = threading.Lock()
        return made

    def __copy__(self) -> Cache:
        return self.fork()

    def __deepcopy__(self, _: Any) -> Cache:
        return self.fork()

    def check_model(self, model: Decoder) -> None:
        """Raise ValueError unless this is a cache of the model as it is now."""
        if not self.ids and self._model is model:
            self._fingerprint = fingerprint(model)
        _check_fingerprint(self._fingerprint, fingerprint(model), "cache")

    def belong_to(self, adapter: Adapter | None) -> None:
        """Take tokens of an adapter, or with None the base, from now on.

        Raises
        ------
        ValueError
            If there are some of another.
        """
        if self.ids and _print_of(adapter) != _print_of(self.adapter):
            raise ValueError(
                f"cache: expected one of {_named(adapter)}, which is in use, got one of"
                f" {_named(self.adapter)}"
            )
        self.adapter = adapter

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokens, keys and values to a safetensors file; the same bytes on every machine."""
        with self.alone():
            tensors: dict[str, Array] = {"ids": np.array(self.ids, np.int64)}
            for layer in range(len(self._held.lengths())):
                parts = zip(_PARTS[self.precision], self._held.codes(layer), strict=True)
                tensors.update((f"layers.{layer}.{part}", values) for part, values in parts)
        plans = [
            TensorPlan(name, values.dtype, values.shape, partial(np.asarray, values))
            for name, values in tensors.items()
        ]
        metadata = {"format": _FORMAT, "model": self._fingerprint, "precision": self.precision}
        metadata["adapter"] = _print_of(self.adapter)
        with replaced_file(Path(path)) as file:
            write_tensor_file(file.name, plans, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Decoder) -> Cache:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If it is no such file, or the cache of another model, or of an adapter that is not
            loaded.
        OSError
            If it cannot be read.
        """
        file = TensorFile(path)
        precision = file.metadata.get("precision", "")
        if file.metadata.get("format") != _FORMAT or precision not in PRECISIONS:
            raise ValueError(f"{path}: not a cache of keys and values that octavo wrote")
        made = cls(model, precision)
        _check_fingerprint(file.metadata.get("model", ""), made._fingerprint, str(path))
        made.adapter = _adapter_of(model, file.metadata.get("adapter", ""), path)
        ids = _read(file, "ids", np.int64, (None,))
        if ids.size and not 0 <= ids.min() <= ids.max() < model.config.vocab_size:
            raise ValueError(f"{path}: tensor 'ids' has tokens that the model does not know")
        for layer in range(model.config.layers):
            names = [f"layers.{layer}.{part}" for part in _PARTS[precision]]
            parts = [_part(file, name, len(ids), model.config) for name in names]
            made._held.restore(layer, *parts)
        made.ids = ids.tolist()
        return made


def check_caches(caches: Sequence[Any], model: Decoder) -> None:
    """Refuse what are no caches of a model, of one precision, each another one."""
    for cache in caches:
        if not isinstance(cache, Cache):
            raise TypeError(f"cache: expected a Cache, got {type(cache).__name__}")
        cache.check_model(model)
    if len({id(cache) for cache in caches}) < len(caches):
        raise ValueError("cache: expected one for each text, got the same one twice")
    if len({cache.precision for cache in caches}) > 1:
        raise ValueError("cache: expected all of one precision, got int8 and float32")


@contextlib.contextmanager
def alone_with(caches: Sequence[Cache]) -> Iterator[None]:
    """Have caches for oneself in a ``with`` block, or none of them; see `Cache.alone`."""
    with contextlib.ExitStack() as held:
        for cache in caches:
            held.enter_context(cache.alone())
        yield


def _print_of(adapter: Adapter | None) -> str:
    return "" if adapter is None else adapter.fingerprint


def _named(adapter: Adapter | None) -> str:
    return "the base" if adapter is None else f"the adapter {adapter.fingerprint[:12]}"


def _adapter_of(model: Decoder, wanted: str, path: Any) -> Adapter | None:
    for adapter in (None, *model.adapters.values()):
        if _print_of(adapter) == wanted:
            return adapter
    raise ValueError(
        f"{path}: expected a cache of the base or a loaded adapter, got one of the adapter"
        f" {shown(wanted[:12])}; load_adapter it first"
    )


def _check_fingerprint(found: str, own: str, where: str) -> None:
    if found != own:
        raise ValueError(
            f"{where}: expected a cache of this model, with the fingerprint {own[:12]}, got that of"
            f" another, {shown(found[:12])}"
        )


def _part(file: TensorFile, name: str, tokens: int, config: DecoderConfig) -> Array:
    """Return a tensor of a layer, checked."""
    heads, size = config.kv_heads, config.head_size
    if name.endswith("codes"):
        codes = _read(file, name, np.int8, (tokens, heads, size))
        if codes.min(initial=0) < -127:
            raise ValueError(f"{file.path}: tensor {name!r} has codes below -127")
        return codes
    if not name.endswith("scale"):
        return _read(file, name, np.float32, (tokens, heads * size))
    scale = _read(file, name, np.float32, (tokens, heads))
    known = (scale >= 0) & (scale < np.inf) | (np.isnan(scale) & name.endswith("key_scale"))
    if not known.all():
        raise ValueError(f"{file.path}: tensor {name!r} has scales that no cache has")
    return scale


def _read(file: TensorFile, name: str, dtype: Any, shape: tuple[int | None, ...]) -> Array:
    values = file.array(name)
    where = f"{file.path}: tensor {name!r}"
    if values.dtype != dtype:
        raise ValueError(f"{where} is {values.dtype}, expected {np.dtype(dtype).name}")
    _checks.check_shape(values, shape, where)
    return values

# SPDX-License-Identifier: Apache-2.0
"""What a peer is: a linear layer of another library, its weights prepared beforehand."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from octavo._types import Array
from octavo.bench.linear import make_input

Call = Callable[[], Any]
Bind = Callable[[Array], Call]

MODULES = ("torch_linear", "onnx_linear", "openvino_linear", "deepsparse_linear")


@dataclass(frozen=True)
class Layer:
    """The layer that every peer gets: float32 weight (n, k) and bias (n,), and a thread count."""

    weight: Array
    bias: Array
    threads: int

    def codes(self) -> tuple[Array, Array]:
        """Return symmetric int8 codes (n, k) and float32 scales (n,)."""
        scale = (np.abs(self.weight).max(axis=1) / 127).astype(np.float32)
        codes = np.clip(np.rint(self.weight / scale[:, None]), -127, 127).astype(np.int8)
        return codes, scale

    def input_scale(self) -> float:
        """Return a static scale for int8 inputs, from calibration rows."""
        rows = make_input(256, self.weight.shape[1], seed=1)
        return float(np.abs(rows).max() / 127)


@dataclass(frozen=True)
class Peer:
    """One way to compute the layer.

    `kind` is ``int8`` (counts as a rival: float32 in and out, quantization included), ``float``
    (a baseline), ``int4`` (fewer bits) or ``part`` (leaves part of the job out): the last two are
    shown but not counted.
    `prepare` packs the weights and returns a function that binds an input to a call.
    """

    name: str
    kind: str
    prepare: Callable[[Layer], Bind]


def find(only: Iterable[str] = ()) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that have one of some words in their name; and why others are absent."""
    modules = {name: importlib.import_module(f"octavo.bench.peers.{name}") for name in MODULES}
    listed, absent = attempt_all(
        {name.removesuffix("_linear"): module.peers for name, module in modules.items()}
    )
    found = [peer for peers in listed.values() for peer in peers]
    words = [word for word in only if word]
    if words:
        found = [peer for peer in found if any(word in peer.name for word in words)]
    return found, absent


def prepare_all(peers: Iterable[Peer], layer: Layer) -> tuple[dict[str, Bind], dict[str, str]]:
    """Pack the layer for each peer; a peer that refuses is reported, not fatal."""
    return attempt_all({peer.name: partial(peer.prepare, layer) for peer in peers})


def bind_all(
    ready: dict[str, Bind], x: Array, check: Callable[[str, Any], None] | None = None
) -> tuple[dict[str, Call], dict[str, str]]:
    """Bind an input for each peer and try it once; wrong or failing peers are reported."""

    def bind_one(name: str, bind: Bind) -> Call:
        call = bind(x)
        result = call()
        if check is not None:
            check(name, as_array(result))
        return call

    return attempt_all({name: partial(bind_one, name, bind) for name, bind in ready.items()})


def attempt_all(
    makers: Mapping[str, Callable[[], Any]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what could be made, by name, and why the rest could not."""
    made: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, make in makers.items():
        result, reason = attempt(make)
        if result is None:
            failed[name] = reason
        else:
            made[name] = result
    return made, failed


def attempt(function: Callable[[], Any]) -> tuple[Any, str]:
    """Return (result, "") or (None, why it failed); a peer may fail in any way of its own."""
    try:
        return function(), ""
    except Exception as error:  # whatever it is, the other peers can still be measured
        return None, first_line(error)


def as_array(result: Any) -> Array:
    """Return a peer's result (NumPy array or torch tensor, bfloat16 included) as an array."""
    if hasattr(result, "detach"):
        result = result.detach().float().numpy()
    return np.asarray(result)


def first_line(error: BaseException) -> str:
    """Return what an error says, cut to fit a table."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]

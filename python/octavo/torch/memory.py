# SPDX-License-Identifier: Apache-2.0
"""A linear layer of octavo, and the tensors that are its memory."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch

from octavo import nn, tuning
from octavo._formats import DENSE
from octavo._types import Array
from octavo.nn.weights import Int8Weight
from octavo.torch._form import Form, beside_weight
from octavo.torch.tensors import TensorCache, borrowed, to_array, to_numpy, to_tensor

# Where a tensor of a layer lies -> the layer. An entry lives as long as its memory, so an address
# found here is never another's.
_BY_ADDRESS: weakref.WeakValueDictionary[int, LayerMemory] = weakref.WeakValueDictionary()

_COPIES: TensorCache[nn.Linear] = TensorCache()

_MAKING = threading.Lock()


class LayerMemory:
    """What computes a layer, shared by all modules whose weights are tied.

    Attributes
    ----------
    names : tuple of str
        The tensors over the layer's memory, which are attributes with these names: what is written
        to them counts in the next call.
    part_names : tuple of str
        The tensors that tell the rest of the weight where memory does not tell it all: programs
        that leave this process hold them. Attributes too, once `make_parts` was called.
    text, part_text : str
        What operators take with the tensors of `names`, or with those of both.
    bias, weight_scale, packed : tensor
        Among those of `names`, where the weight has them.
    """

    bias: torch.Tensor | None
    weight_scale: torch.Tensor
    packed: torch.Tensor

    def __init__(self, layer: nn.Linear, asked: dict[str, Any] | None = None) -> None:
        self._asked, self._address = asked, 0
        self.part_names: tuple[str, ...] = ()
        self._view(layer)

    def _view(self, layer: nn.Linear) -> None:
        self.form = Form.of(layer, self._asked)
        self.layer, self.shape = layer, layer.shape
        memory = layer.held_weight.memory(layer._bound)
        arrays = {**memory.tensors, **beside_weight(layer)}
        self.whole, self.names = memory.whole, tuple(arrays)
        for name, array in {**arrays, "bias": memory.bias}.items():
            self._show(name, array)
        self.text = self.form.text(self.names)
        if self.part_names:
            self._show_parts()
        self._note_versions()
        _BY_ADDRESS.pop(self._address, None)
        self._places = [_place(getattr(self, name)) for name in self.names]
        self._address = next((place[0] for place in self._places if 0 not in place[1]), 0)
        if self._address:  # no outputs lie at no address
            _BY_ADDRESS[self._address] = self

    def _show(self, name: str, array: Array | None) -> None:
        """Let the attribute `name` be a tensor over an array."""
        # Inference tensors could not take part in autograd later, and count no writes.
        with torch.inference_mode(False):
            fresh = None if array is None else to_tensor(array)
        held = getattr(self, name, None)
        if held is None or fresh is None:
            setattr(self, name, fresh)
        elif _place(held) != _place(fresh):
            # The tensor object stays: modules and compiled graphs hold it.
            held.data = fresh

    def _note_versions(self) -> None:
        tensors = [*(getattr(self, name) for name in self.names), self.bias]
        self._versions = [(t, t._version) for t in tensors if t is not None]

    def _show_parts(self) -> None:
        parts = self.layer.held_weight.portable()
        self.part_names = tuple(name for name in parts if name not in self.names)
        for name in self.part_names:
            self._show(name, parts[name])
        self.part_text = self.form.text((*self.part_names, *self.names))
        self._part_versions = [getattr(self, name)._version for name in self.part_names]

    def make_parts(self) -> bool:
        """Make what `part_names` says, once."""
        with _MAKING:
            if not self.part_names and not self.whole:
                self._show_parts()
        return True

    # What torch.compiler.assume_constant_result would set, without importing the compiler: it calls
    # this while it traces, and finds the tensors as attributes afterwards.
    make_parts._dynamo_marked_constant = True  # type: ignore[attr-defined]

    @property
    def nbytes(self) -> int:
        """Bytes of the layer, and of what was made for export."""
        return self.layer.nbytes + sum(getattr(self, name).nbytes for name in self.part_names)

    def codes(self) -> torch.Tensor:
        """Return the codes of an int8 weight, (out_features, in_features), as a fresh tensor."""
        return torch.from_numpy(self.current().weight_codes)

    def current(self) -> nn.Linear:
        """Return the layer, made anew if somebody wrote to its tensors in place."""
        for tensor, version in self._versions:
            if tensor.requires_grad:
                refuse_gradient()
            if tensor._version != version:
                rest = {} if self.whole else self.layer.held_weight.portable()
                arrays = {name: to_array(getattr(self, name)) for name in self.names}
                self._view(self.form.layer({**rest, **arrays}, _array(self.bias)))
                break
        return self.layer

    def owns(self, tensors: Sequence[torch.Tensor], text: str) -> bool:
        """Whether these are the layer's own tensors, and nobody wrote to its parts."""
        own = self._places
        if text != self.text:
            if not self.part_names or text != self.part_text:
                return False
            parts = [getattr(self, name) for name in self.part_names]
            if self._part_versions != [part._version for part in parts]:
                return False
            own = [*map(_place, parts), *own]
        return own == list(map(_place, tensors))

    def replace(
        self,
        parts: dict[str, torch.Tensor],
        bias: torch.Tensor | None,
        **options: Any,
    ) -> None:
        """Take other numbers of the same shape, copied; all modules that share this see them.

        `parts` is the weight as one of its layouts has it, and what is beside it.
        """
        form = self.form._replace(options={**self.form.options, **options})
        copies = {name: to_array(part.clone()) for name, part in parts.items()}
        self._view(form.layer(copies, None if bias is None else to_array(bias.clone())))

    def __reduce__(self) -> tuple[Callable[..., LayerMemory], tuple[Any, ...]]:
        layer = self.current()
        arrays = {**layer.held_weight.portable(), **beside_weight(layer)}
        parts = {name: to_tensor(array).clone() for name, array in arrays.items()}
        bias = None if self.bias is None else self.bias.clone()
        return _rebuild, (self.form, self._asked, parts, bias)


def _rebuild(
    form: Form,
    asked: dict[str, Any] | None,
    parts: dict[str, torch.Tensor],
    bias: torch.Tensor | None,
) -> LayerMemory:
    arrays = {name: to_array(part) for name, part in parts.items()}
    return LayerMemory(form.layer(arrays, _array(bias)), asked)


def _array(tensor: torch.Tensor | None) -> Array | None:
    return None if tensor is None else to_array(tensor)


def refuse_gradient() -> NoReturn:
    """Raise for tensors of an int8 layer that somebody wants gradients for."""
    raise ValueError(
        "requires_grad: expected False for the scales and the bias of an int8 layer, got True:"
        " they do not train; train what stands before the layer, or beside it"
    )


def held_int8(
    codes: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    options: nn.LinearOptions,
    sparse: str,
) -> LayerMemory:
    """Hold codes (N, K) and scales (N,) in the form that is fastest for any number of rows.

    `sparse` is as in `octavo.torch.Int8Dynamic`.
    """
    array = to_array(codes)
    format = DENSE if sparse == "never" else tuning.choose(array)
    is_sparse = format != DENSE or sparse == "always"
    weight = Int8Weight.from_quantized(array, to_numpy(scale), format=format if is_sparse else None)
    layer = nn.Linear.of(weight, None if bias is None else to_numpy(bias), options)
    return LayerMemory(layer, {"format": "auto"} if is_sparse else None)


def layer_of(
    tensors: Sequence[torch.Tensor], text: str, bias: torch.Tensor | None
) -> tuple[nn.Linear, bool]:
    """Return the layer whose memory the tensors are, and whether the bias is still to be added.

    Tensors that are copies (of an exported program, say) get a layer of their own, kept as long
    as they live.
    """
    held = _owner(tensors, text)
    if held is not None:
        if held.bias is None:
            return held.current(), bias is not None
        if bias is not None and bias.data_ptr() == held.bias.data_ptr():
            return held.current(), False
    known = tuple(tensors) if bias is None else (*tensors, bias)
    return _COPIES.get(known, text, lambda: _copy(tensors, text, bias)), False


def weight_of(tensors: Sequence[torch.Tensor], text: str) -> torch.Tensor:
    """Return what the layer whose memory the tensors are multiplies with, as a fresh tensor."""
    held = _owner(tensors, text)
    layer = _copy(tensors, text, None) if held is None else held.current()
    return torch.tensor(layer.weight)


def _owner(tensors: Sequence[torch.Tensor], text: str) -> LayerMemory | None:
    for tensor in tensors:
        held = _BY_ADDRESS.get(tensor.data_ptr())
        if held is not None and held.owns(tensors, text):
            return held
    return None


def _place(tensor: torch.Tensor) -> tuple[int, tuple[int, ...], bool]:
    """Return where the numbers of a tensor lie, and whether side by side."""
    return tensor.data_ptr(), tensor.shape, tensor.is_contiguous()


def _copy(tensors: Sequence[torch.Tensor], text: str, bias: torch.Tensor | None) -> nn.Linear:
    names, form = Form.read(text)
    try:
        arrays = dict(zip(names, map(borrowed, tensors), strict=True))
        return form.layer(arrays, None if bias is None else borrowed(bias))
    except KeyError as error:
        raise ValueError(
            f"weight: expected the tensors of a living octavo.torch layer, got others without"
            f" {error}: a compiled graph works with the layers that it was compiled from; use"
            " torch.export for one that is moved"
        ) from None

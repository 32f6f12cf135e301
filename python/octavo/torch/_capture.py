# SPDX-License-Identifier: Apache-2.0
"""Representative data for a torch model, and what its layers read of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

See = Callable[[str, Tensor], None]


class Group(NamedTuple):
    """Layers that read the same tensor, and how often a forward pass calls the first of them."""

    names: list[str]
    calls: int


class _Reached(Exception):  # noqa: N818  (no error: the rest of a forward pass is not needed)
    pass


def batches_of(data: Any) -> list[Any]:
    """Return the batches of some data."""
    if isinstance(data, (Tensor, Mapping, str, bytes)) or not hasattr(data, "__iter__"):
        kind = type(data).__name__
        raise TypeError(f"data: expected an iterable of batches, such as a list, got {kind}")
    batches = list(data)
    if not batches:
        raise ValueError("data: expected at least one batch, got none")
    for index, batch in enumerate(batches):
        if not isinstance(batch, (Tensor, Mapping, tuple, list)):
            raise TypeError(
                f"data[{index}]: expected a tensor, a tuple of arguments or a mapping of them,"
                f" got {type(batch).__name__}"
            )
    return batches


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode, and every part in its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def input_groups(module: nn.Module, names: list[str], batches: list[Any]) -> list[Group]:
    """Return the layers in the order in which data reaches them, those of one input together."""
    groups: list[list[str]] = []
    calls = dict.fromkeys(names, 0)
    for index, batch in enumerate(batches):
        missing = [name for name, count in calls.items() if not count]
        last: list[Tensor] = []

        def see(name: str, x: Tensor, last: list[Tensor] = last) -> None:
            calls[name] += 1
            if calls[name] > 1:
                return
            if last and last[0] is x:
                groups[-1].append(name)
            else:
                groups.append([name])
            last[:] = [x]

        _run(module, missing, batch, index, see)
        if all(calls.values()):
            return [Group(group, calls[group[0]]) for group in groups]
    missing = [name for name, count in calls.items() if not count]
    raise ValueError(
        f"data: layer {missing[0]!r} was never reached; leave it out with filter_fn, or give data"
        " that reaches it"
    )


def inputs_of(module: nn.Module, group: Group, batch: Any, index: int) -> list[Tensor]:
    """Return what a group of layers reads, once for each time the first of them is called.

    Each is (rows, features), float32; padding is left out where a mapping holds an
    ``attention_mask`` of the input's leading axes.
    """
    found: list[Tensor] = []

    def see(_: str, x: Tensor) -> None:
        found.append(_rows(x, batch))
        if len(found) == group.calls:
            raise _Reached

    _run(module, group.names[:1], batch, index, see)
    return found


def _rows(x: Tensor, batch: Any) -> Tensor:
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if isinstance(mask, Tensor) and mask.ndim == 2 and x.shape[:-1] == mask.shape:
        return x[mask.bool()].float()
    return x.reshape(-1, x.shape[-1]).float()


def _run(module: nn.Module, names: list[str], batch: Any, index: int, see: See) -> None:
    """Run a model on a batch with some layers watched."""
    handles = []
    try:
        for name in names:
            hook = _hook(name, see)
            part = module.get_submodule(name)
            handles.append(part.register_forward_pre_hook(hook, with_kwargs=True))
        _call(module, batch)
    except _Reached:
        pass
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"data[{index}]: the model refuses it: {error}") from error
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, see: See) -> Any:
    def hook(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        see(name, arguments[0] if arguments else options["input"])

    return hook


def _call(module: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return module(**batch)
    if isinstance(batch, (tuple, list)):
        return module(*batch)
    return module(batch)

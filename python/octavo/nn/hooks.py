# SPDX-License-Identifier: Apache-2.0
"""Watching what modules are called with, the one way to do it; PyTorch's habit.

A module with hooks is of a class of its own, made of its class, whose calls pass by the hooks; so a
module without any pays nothing.  All arguments reach the module as they came.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from numpy.typing import NDArray

from octavo.nn.module import Module

Before = Callable[[Any, tuple[Any, ...], dict[str, Any]], None]
After = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], None]
See = Callable[[str, NDArray[Any], NDArray[Any] | None], None]

_LOCK = threading.Lock()
_KEY = "_hooks"


class Handle:
    """A registered hook; `remove` it, or leave its ``with`` block.

    Parameters
    ----------
    module : Module
    before, after : callable, optional
    always : bool
    """

    def __init__(
        self, module: Module, before: Before | None, after: After | None, always: bool
    ) -> None:
        self._module = module
        self.before, self.after, self.always = before, after, always

    def remove(self) -> None:
        """Take the hook away; once is enough."""
        with _LOCK:
            rest = tuple(one for one in handles_of(self._module) if one is not self)
            _put(self._module, rest)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Reached(Exception):  # noqa: N818  (no error: the rest of the run is not needed)
    """What was wanted has been seen."""


def register(
    module: Module,
    before: Before | None = None,
    after: After | None = None,
    *,
    always: bool = False,
) -> Handle:
    """Have functions called with each call of a module, from any thread.

    Parameters
    ----------
    module : Module
        It keeps its identity; other models that hold it are watched too.
    before : callable, optional
        ``before(module, args, kwargs)``; what it raises ends the call.
    after : callable, optional
        ``after(module, args, kwargs, result)``.
    always : bool
        Call `after` also where the call raised; `result` is None then.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> from octavo.nn import hooks
    >>> layer = octavo.nn.FloatLinear(np.eye(2, dtype=np.float32))
    >>> with hooks.register(layer, lambda module, args, kwargs: print(args[0].shape)):
    ...     y = layer(np.ones((3, 2), np.float32))
    (3, 2)
    """
    handle = Handle(module, before, after, always)
    with _LOCK:
        _put(module, (*handles_of(module), handle))
    return handle


def handles_of(module: Module) -> tuple[Handle, ...]:
    """Return the hooks of a module."""
    return vars(module).get(_KEY, ())


@contextlib.contextmanager
def watching(module: Module, names: Iterable[str], see: See) -> Iterator[None]:
    """See what layers below a module read, in calls of this thread.

    Parameters
    ----------
    module : Module
    names : iterable of str
        Paths of layers below it; one that has several is seen under all of them with each call,
        unless `octavo.nn.tree.untied` parts them before.
    see : callable
        ``see(name, x, residual)``, before the layer computes.  May raise `Reached` to end the run,
        and the body of the ``with`` statement.
    """
    thread = threading.get_ident()
    handles: list[Handle] = []

    def hook(name: str) -> Before:
        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == thread:
                given = {**dict(zip(("x", "residual"), args, strict=False)), **kwargs}
                see(name, given["x"], given.get("residual"))

        return before

    try:
        handles.extend(register(module.get_submodule(name), hook(name)) for name in names)
        with contextlib.suppress(Reached):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _put(module: Any, handles: tuple[Handle, ...]) -> None:
    kind = type(module)
    plain = vars(kind).get("_plain", kind)
    if handles:
        vars(module)[_KEY] = handles
        module.__class__ = _hooked(plain)
    else:
        module.__class__ = plain
        vars(module).pop(_KEY, None)


@cache
def _hooked(plain: Any) -> Any:
    """Return the class of a module with hooks."""

    class Hooked(plain):  # type: ignore[misc]
        _plain = plain

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            handles = handles_of(self)
            for handle in handles:
                if handle.before is not None:
                    handle.before(self, args, kwargs)
            result, done = None, False
            try:
                result = plain.__call__(self, *args, **kwargs)
                done = True
            finally:
                for handle in handles:
                    if handle.after is not None and (done or handle.always):
                        handle.after(self, args, kwargs, result)
            return result

        # Copies and pickles are of the module alone.
        def __copy__(self) -> Any:
            return copy.copy(_without_hooks(self))

        def __reduce_ex__(self, protocol: Any) -> Any:
            return _same, (_without_hooks(self),)

    Hooked.__name__, Hooked.__qualname__ = plain.__name__, plain.__qualname__
    Hooked.__module__ = plain.__module__
    return Hooked


def _same(module: Any) -> Any:
    return module


def _without_hooks(module: Any) -> Any:
    plain = object.__new__(type(module)._plain)
    vars(plain).update({key: value for key, value in vars(module).items() if key != _KEY})
    return plain

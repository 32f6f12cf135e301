# SPDX-License-Identifier: Apache-2.0
"""The weights of a model in a memory segment: written once, used by every process."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from octavo import _backend, nn, runtime, tuning
from octavo._text import parsed_json
from octavo._version import __version__
from octavo.io.header import Tensors
from octavo.io.segment import Segment, SegmentWriter, candidates, locked, make, missing
from octavo.io.snapshot import OpenFolder, stamp_of
from octavo.nn.weights import Weight, weight_class

T = TypeVar("T")

_CHUNK = 1 << 20


class SharedWeights:
    """The weights of layers, by the layers' names, over the memory of a segment."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self._forms = parsed_json(segment.metadata["forms"])

    def get(self, layer: str, shape: tuple[int, int]) -> Weight | None:
        """Return a layer's weight; None if it is not shared.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the segment holds something else for the layer.
        """
        form = self._forms.get(layer)
        if form is None:
            return None
        form = dict(form)
        cls = weight_class(form.pop("kind"))
        return cls.attach(self.segment.arrays(layer), shape, **form)


def require_sharing() -> None:
    """Raise OSError where there is nothing to share, or no way to."""
    problem = missing()
    if problem is None and _backend.name != "native":
        problem = "the NumPy backend packs weights for each process"
    if problem is not None:
        raise OSError(problem)


def shared_weights(
    name: str,
    read: Callable[[Callable[[str, nn.Module], nn.Module]], object],
    build: Callable[[SharedWeights], T],
) -> T:
    """Return what `build` makes of the segment of a name; if there is none yet, of a new one.

    Parameters
    ----------
    name : str
        See `name_of`.
    read : callable
        Called with a function to which it gives each layer of the model, by name.
    build : callable

    Raises
    ------
    OSError
        If memory cannot be shared here.
    """
    found = _first(name, build)
    if found is None:
        with locked(name):
            found = _first(name, build)
            if found is None:
                found = build(SharedWeights(make(name, lambda writer: _write(writer, read))))
    return found


def _first(name: str, build: Callable[[SharedWeights], T]) -> T | None:
    for segment in candidates(name):
        # One that is not what its name says is somebody's who wants harm.
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            return build(SharedWeights(segment))
    return None


def _write(
    writer: SegmentWriter, read: Callable[[Callable[[str, nn.Module], nn.Module]], object]
) -> dict[str, str]:
    forms: dict[str, Any] = {}

    def take(name: str, layer: nn.Module) -> nn.Module:
        if not isinstance(layer, (nn.Linear, nn.Embedding)):
            return layer
        weight = layer.held_weight
        forms[name] = {"kind": weight.kind, **weight.form()}
        for key, array in weight.shareable().items():
            writer.add(name, key, array)
        return nn.Module()  # so that no two layers are in memory twice

    read(take)
    return {"forms": json.dumps(forms)}


def name_of(config: dict[str, Any], content: Iterable[str], rows: Any) -> str:
    """Return the name of the segment of a model: a digest of all that its bytes depend on.

    Parameters
    ----------
    config : dict
        The model's ``config.json``.
    content : iterable of str
        What `digests` gives.
    rows : int or sequence of int, optional
        As for `octavo.models.load`.
    """
    build = stamp_of(Path(_backend.backend.__file__).stat())
    facts = [
        *(__version__, build, runtime.get_isa(), tuning.costs(), rows),
        *(config, list(content)),
    ]
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digests(folder: OpenFolder, tensors: dict[str, Tensors]) -> list[str]:
    """Return the files of tensors with what they hold: a model that was replaced is another one."""
    found = [f"{name} {file.path.name}" for name, file in sorted(tensors.items())]
    for name in sorted({file.path.name for file in tensors.values()}):
        digest = hashlib.sha256()
        with folder.open(name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        found.append(f"{name} {digest.hexdigest()}")
    return found

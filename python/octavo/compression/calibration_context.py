# SPDX-License-Identifier: Apache-2.0
"""Calibrating by running a model: a context that watches, and what is made of it afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TypeVar

from octavo import _checks, nn
from octavo._float_mode import in_default_mode
from octavo.compression.materialize import materialized
from octavo.compression.name_patterns import NamePatterns
from octavo.compression.observe import make_observer
from octavo.compression.plan import LayerPlan, Planner
from octavo.compression.ranges import InputObservers
from octavo.compression.recipe import Quantize, Recipe
from octavo.models.encoder import Encoder
from octavo.nn import hooks

Model = TypeVar("Model", bound=nn.Module)


class Calibration:
    """Watches what the float linear layers of a model read while it runs.

    Within ``with Calibration(model) as calibration:`` the model computes what it always does. After
    it, the model is as before, also after an exception, and `freeze` returns an int8
    copy whose layers quantize their inputs with fixed scales. The context may be entered again, to
    see more.

    Any `octavo.nn.Module` will do, also one made by hand of `octavo.nn.FloatLinear` layers. For an
    encoder, tokens under the attention mask's zeros do not count. Layers that read the same array
    share a scale.

    A model can be watched by one context at a time. Meanwhile it may be called from many threads,
    and all calls count; other models that share layers with it are watched too.

    Parameters
    ----------
    model : Module
        With float linear layers.
    observer : "minmax", "moving_average", "percentile", "mse" or "entropy", optional
        How a scale is found; default: mse.
    symmetric : bool
        Whether inputs are quantized symmetrically.
    dynamic : list of str
        Names of layers that are not watched and quantize each row by its own range; ``*`` stands
        for anything.

    Raises
    ------
    TypeError, ValueError
        For a model without float linear layers, an unknown observer, or a name that is not there.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.FloatLinear(np.eye(4, dtype=np.float32))
    >>> with octavo.compression.Calibration(layer, observer="minmax") as calibration:
    ...     y = layer(np.linspace(-1, 1.55, 8, dtype=np.float32).reshape(2, 4))
    >>> calibration.scales()
    {'': (0.009999999776482582, -28)}
    >>> calibration.freeze()
    Linear(in_features=4, out_features=4, bias=False)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        observer: str | None = None,
        symmetric: bool = False,
        dynamic: Iterable[str] = (),
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected an octavo Module, got {_checks.describe(model)}")
        self.model = model
        self.quantize = Quantize(
            activations="static", observer=observer, symmetric=symmetric, dynamic=tuple(dynamic)
        )
        names = NamePatterns(self.quantize.dynamic, "dynamic", "float linear layers")
        self._layers = {
            name: layer
            for name, layer in model.named_modules()
            if nn.is_linear(layer, "float32") and name not in names
        }
        names.check()
        if not self._layers:
            raise ValueError("model: expected float linear layers to watch, got none")
        self._ranges = InputObservers(lambda name: make_observer(observer, name))
        self._masks = threading.local()
        self._handles: list[hooks.Handle] = []

    def __enter__(self) -> Calibration:
        """Begin to watch.

        Raises
        ------
        RuntimeError
            If a context watches this model, or a layer of it, already.
        """
        targets: list[tuple[nn.Module, _Seen]] = [
            (layer, _Seen(self, name)) for name, layer in self._layers.items()
        ]
        if isinstance(self.model, Encoder):
            targets.append((self.model, _Seen(self)))
        if any(_is_watched(target) for target, _ in targets):
            raise RuntimeError("model: is being calibrated already; contexts cannot be nested")
        for target, seen in targets:
            # The same layer under a second name is seen once.
            if not _is_watched(target):
                self._handles.append(seen.register(target))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the model back as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def see(self, name: str, x: Any) -> None:
        """Take in what a layer of that name has read, a float array of any shape."""
        array = _checks.as_array(x, "x")
        self._ranges.see(name, array, getattr(self._masks, "mask", None))

    def masked(self, mask: Any) -> None:
        """Say which tokens the calls of this thread from now on are about; None: all."""
        self._masks.mask = mask
        self._ranges.forget()

    def scales(self) -> dict[str, tuple[float, int]]:
        """Return scale and zero point by layer name, for the layers that were reached."""
        symmetric = self.quantize.symmetric
        found = self._ranges.observers.items()
        return {name: observer.scale_zero_point(symmetric) for name, observer in found}

    def freeze(self) -> nn.Module:
        """Return an int8 copy of the model; see `octavo.compression.freeze`."""
        return freeze(self.model, self)


@in_default_mode
def freeze(model: Model, calibration: Calibration) -> Model:
    """Return an int8 copy of a model, with the fixed input scales that a calibration found.

    Linear layers that the calibration did not reach (an encoder's pooler, say, which a call of the
    model does not use), and those it was told to leave dynamic, quantize each row by its own range.
    Embeddings become int8; norms and everything else stay what they are.

    Parameters
    ----------
    model : Module
        The one that was calibrated; left as it is.
    calibration : Calibration

    Returns
    -------
    Module
        Of the same class; `octavo.Linear` if the model is a single layer.

    Raises
    ------
    RuntimeError
        Within the context.
    ValueError
        If the calibration is another model's, or nothing ran within it.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> class Network(octavo.nn.Module):
    ...     def __init__(self, first, second):
    ...         self.first, self.second = first, second
    ...     def __call__(self, x):
    ...         return self.second(self.first(x))
    >>> rng = np.random.default_rng(0)
    >>> weights = [rng.standard_normal((8, 8)).astype(np.float32) for _ in range(2)]
    >>> network = Network(*(octavo.nn.FloatLinear(w, activation="relu") for w in weights))
    >>> x = rng.standard_normal((100, 8)).astype(np.float32)
    >>> with octavo.compression.Calibration(network) as calibration:
    ...     y = network(x)
    >>> small = octavo.compression.freeze(network, calibration)
    >>> bool(np.abs(small(x) - y).max() < 0.03 * np.abs(y).max())
    True
    """
    if not isinstance(calibration, Calibration):
        kind = _checks.describe(calibration)
        raise TypeError(f"calibration: expected an octavo.compression.Calibration, got {kind}")
    if calibration.model is not model:
        raise ValueError("calibration: expected one of this model, got another model's")
    if calibration._handles:
        raise RuntimeError("calibration: leave its context before the model is frozen")
    scales = calibration.scales()
    if not scales:
        raise ValueError("calibration: expected calls of the model within its context, got none")
    by_layer = {id(calibration._layers[name]): found for name, found in scales.items()}

    recipe = Recipe(quantize=calibration.quantize)
    planner = Planner(recipe)

    def plan_of(name: str, layer: nn.Module) -> LayerPlan:
        plan = planner(name, layer)
        plan.input_scale, plan.input_zero_point = by_layer.get(id(layer), (None, 0))
        return plan

    made = materialized(model, plan_of)
    if isinstance(made, Encoder):
        made.recipe = recipe.to_dict()
    return made


class _Seen:
    """What a context has called with the calls of a layer, or with those of the whole encoder."""

    def __init__(self, calibration: Calibration, name: str | None = None) -> None:
        self._calibration, self._name = calibration, name

    def register(self, target: nn.Module) -> hooks.Handle:
        if self._name is None:
            return hooks.register(target, self._begin, self._end, always=True)
        return hooks.register(target, after=self._read)

    def _read(self, _: Any, args: Any, kwargs: Any, __: Any) -> None:
        self._calibration.see(str(self._name), args[0] if args else kwargs["x"])

    def _begin(self, model: Encoder, args: Any, kwargs: Any) -> None:
        self._calibration.masked(model.checked(*args, **kwargs)[1])

    def _end(self, *_: Any) -> None:
        self._calibration.masked(None)


def _is_watched(target: nn.Module) -> bool:
    hooked = (hook for one in hooks.handles_of(target) for hook in (one.before, one.after))
    return any(isinstance(getattr(hook, "__self__", None), _Seen) for hook in hooked)

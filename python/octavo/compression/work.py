# SPDX-License-Identifier: Apache-2.0
"""What the stages of a compression hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from octavo import nn
from octavo.algorithms.pruning import OutputFit
from octavo.compression.materialize import Forms
from octavo.compression.plan import LayerPlan, Planner
from octavo.compression.recipe import Recipe
from octavo.data.batches import Batches
from octavo.models.decoder import Decoder
from octavo.models.encoder import Encoder
from octavo.nn.tree import map_layers, untied

Model = Encoder | Decoder
Progress = Callable[[str, float], None]
"""Gets what is going on and the share that is done."""


class Work:
    """A compression under way: a plan for every layer, and a copy of the model that stages change.

    Parameters
    ----------
    recipe : Recipe
        Resolved.
    model : Encoder or Decoder
        Left as it is, as `original`; a float copy of it is the attribute `model`.
    batches : Batches
        The calibration data; each iteration is a pass over it.
    progress : callable
        Gets what is going on and the share of the stage that is done.
    on_layer : callable, optional
        Called with each layer's name after it was converted.
    as_pruned : bool
        Whether layers take their final form as they are pruned: those behind then see what the
        compressed ones give.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Model,
        batches: Batches,
        progress: Progress = lambda _, __: None,
        on_layer: Callable[[str], None] | None = None,
        as_pruned: bool = False,
    ) -> None:
        self.recipe, self.batches, self.progress = recipe, batches, progress
        # Layers of whose weights the data says nothing: what they read is alike in all rows.
        self.silent: set[str] = set()
        self.as_pruned = as_pruned
        self.original: Any = untied(model)
        self.plans: dict[str, LayerPlan] = {}
        planner = Planner(recipe)

        def planned(name: str, layer: nn.Module) -> nn.Module:
            self.plans[name] = planner(name, layer)
            return layer

        self.model: Any = map_layers(self.original, planned)
        planner.check()
        self.forms = Forms(self.plans, recipe.quantize, on_layer)

    def linear(self, name: str) -> nn.Linear:
        """Return a linear layer as it is by now."""
        return cast("nn.Linear", self.model.get_submodule(name))

    def replace(self, name: str, layer: nn.Module) -> None:
        """Put another layer into the model."""
        self.model.set_submodule(name, layer)

    def has_bias(self, layer: nn.Linear) -> bool:
        """Whether a layer may have a bias: files of decoders have no place for a new one."""
        return layer.bias is not None or isinstance(self.model, Encoder)

    def output_fit(self, layers: Sequence[nn.Linear]) -> OutputFit:
        """Return the empty statistics of layers that read the same input and aim at outputs."""
        outputs = sum(layer.out_features for layer in layers)
        return OutputFit(layers[0].in_features, outputs, has_bias=self.has_bias(layers[0]))

    def quantized_linears(self) -> list[str]:
        """List the layers whose input will be quantized."""
        return [name for name, plan in self.plans.items() if plan.quantizes_input]

# SPDX-License-Identifier: Apache-2.0
"""`to_graph`: a module of torch becomes a graph, through `torch.export`."""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from octavo.graph import Graph
from octavo.torch._capture import evaluating
from octavo.torch.exported import (
    arithmetic,
    arrays,
    convolutions,
    pools,
    products,
    reductions,
)
from octavo.torch.exported.values import Builder, Value
from octavo.torch.exported.windows import IMAGES
from octavo.torch.tensors import require_module

_ON_IMAGES = {**convolutions.OPERATORS, **pools.OPERATORS}
_OPERATORS: dict[Any, Any] = {
    **_ON_IMAGES,
    **arithmetic.OPERATORS,
    **arrays.OPERATORS,
    **products.OPERATORS,
    **reductions.OPERATORS,
    operator.getitem: lambda _, parts, index: parts[index],
}

# Checks that `torch.export` leaves behind, which compute nothing.
_SKIPPED = (torch.ops.aten._assert_tensor_metadata.default,)

_TORCH = str(Path(torch.__file__).parent)


def to_graph(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> Graph:
    """Return a module as a graph, in evaluation mode and with the shapes of example inputs.

    Graphs have images as (batch, height, width, channels).  So if the module convolves, pools or
    resizes, the graph's float inputs and outputs with four axes are in that order, where torch's
    are (batch, channels, height, width); all others are as torch has them.
    Batch norms become part of convolutions before them, and what depends on constants alone is
    computed now.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, float32.
    args : tuple
        What `module` is called with, as for `torch.export.export`.
    kwargs : mapping, optional
        The same by name.

    Returns
    -------
    octavo.graph.Graph
        Its signature has the names of the arguments of `forward`; outputs go by their keys, or are
        ``output_0`` and so on.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If `torch.export` cannot follow the module, if its numbers are not float32, and for what a
        graph has no operator for: it names the operator and its line in the module.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> graph = octavo.torch.to_graph(module, (torch.zeros(1, 3, 10, 10),))
    >>> [tensor.shape for tensor in (graph.tensors[i] for i in graph.inputs + graph.outputs)]
    [(1, 10, 10, 3), (1, 8, 8, 8)]
    >>> [one.kind for one in graph.operators]
    ['conv_2d']
    """
    require_module(module)
    if not isinstance(args, tuple):
        raise TypeError(f"args: expected a tuple of inputs, got {type(args).__name__}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs: expected a mapping, got {type(kwargs).__name__}")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"module.{name}: expected float32, got {tensor.dtype}; call .float()")
        if tensor.device.type != "cpu":
            raise ValueError(f"module.{name}: expected a CPU tensor, got one on {tensor.device}")
    with evaluating(module), torch.no_grad():
        program = _exported(module, args, dict(kwargs or {}))
        graph = _Walk(program, module).graph(type(module).__name__)
    graph.check()
    return graph


def _exported(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            # PyTorch's own, which says nothing to a caller.
            warnings.filterwarnings("ignore", ".*treespec", FutureWarning)
            program = torch.export.export(module, args, kwargs)
            table = torch.export.default_decompositions()
            return program.run_decompositions(
                {target: rule for target, rule in table.items() if target not in _OPERATORS}
            )
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"module: torch.export cannot follow it: {reason}") from error


class _Walk:
    """The nodes of an exported program, one after the other."""

    def __init__(self, program: Any, module: nn.Module) -> None:
        self._program = program
        parts = module.named_modules()
        self._leaves = {path for path, part in parts if not any(part.children())}
        self._builder = Builder()
        self._values: dict[Any, Any] = {}
        targets = {node.target for node in program.graph.nodes}
        self._has_images = any(target in _ON_IMAGES for target in targets)

    def graph(self, name: str) -> Graph:
        """Return the graph."""
        builder, signature = self._builder, self._program.graph_signature
        written = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
        if written:
            raise ValueError(f"module: expected none that keeps a state, but it writes {written}")
        constants = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        held = {**self._program.state_dict, **self._program.constants}
        inputs = {}
        for node in self._program.graph.nodes:
            builder.node, builder.result = self._name(node), node.meta.get("val")
            if node.op == "placeholder" and node.name in constants:
                self._values[node] = held[constants[node.name]]
                builder.name(self._values[node], constants[node.name])
            elif node.op == "placeholder" and not isinstance(builder.result, torch.Tensor):
                self._values[node] = builder.result
            elif node.op == "placeholder":
                order = self._order(builder.result)
                value = builder.input(node.name, builder.result, order)
                inputs[node.name] = self._values[node] = value
            elif node.op == "call_function":
                self._values[node] = self._call(node)
            else:
                return builder.graph(inputs, self._outputs(node.args[0]), name)
            self._count(node)
        raise AssertionError("an exported program ends with its outputs")

    def _name(self, node: Any) -> str:
        """Return the name of the layer that a node is of, or of the module and the node's own."""
        path = _layer(node)
        return path if path in self._leaves and path else f"{path}.{node.name}".lstrip(".")

    def _order(self, like: torch.Tensor) -> tuple[int, ...]:
        """Return how an input or output lies."""
        is_image = self._has_images and like.ndim == 4 and like.is_floating_point()
        return IMAGES if is_image else tuple(range(like.ndim))

    def _call(self, node: Any) -> Any:
        args, kwargs = (torch.fx.map_arg(one, self._values.get) for one in (node.args, node.kwargs))
        if node.target in _SKIPPED:
            return None
        if not any(isinstance(one, Value) for one in pytree.tree_leaves((args, kwargs))):
            if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
                raise ValueError(f"{node.target}: expected nothing random; {_place(node)}")
            return node.target(*args, **kwargs)
        lowering = _OPERATORS.get(node.target)
        try:
            if lowering is None:
                raise ValueError("graphs have no operator for it")
            return lowering(self._builder, *args, **kwargs)
        except ValueError as error:
            raise ValueError(f"{node.target}: {error}; {_place(node)}") from error

    def _count(self, node: Any) -> None:
        value, readers = self._values[node], self._builder.readers
        if isinstance(value, Value):
            readers[value.tensor] = max(readers.get(value.tensor, 0), len(node.users))

    def _outputs(self, nodes: Any) -> dict[str, int]:
        """Return the tensors of the results, by the keys under which the module gives them."""
        tree = pytree.tree_unflatten([*nodes], self._program.call_spec.out_spec)
        made = {}
        for index, (path, node) in enumerate(pytree.tree_flatten_with_path(tree)[0]):
            if not isinstance(node, torch.fx.Node):
                continue  # a number, or None
            keys = [str(getattr(key, "key", "")) for key in path]
            name = "_".join(keys) if path and all(keys) else f"output_{index}"
            order = self._order(node.meta["val"])
            made[name] = self._builder.arranged(self._values[node], order)
        return made


def _layer(node: Any) -> str:
    """Return the name of the innermost module that a node comes from."""
    layers = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
    return layers[-1] if layers else ""


def _place(node: Any) -> str:
    """Return where in the module a node comes from."""
    layer = _layer(node)
    lines = re.findall(r'File "(.*)", line (\d+), in .*\n(.*)', node.meta.get("stack_trace") or "")
    where = f"in {layer}" if layer else "in the module itself"
    own = [line for line in lines if not line[0].startswith(_TORCH)] or lines
    if not own:
        return where
    file, line, text = own[-1]
    return f"{where}, at {file}:{line}: {text.strip()}"

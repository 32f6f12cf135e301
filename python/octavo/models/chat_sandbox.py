# SPDX-License-Identifier: Apache-2.0
"""Jinja's immutable sandbox with bounds for time and size; this module needs jinja2.

The sandbox keeps templates from what is not theirs, and lets them run forever and make texts of any
size. Here each round of a loop and each call of a macro looks at the clock, and whatever could be
larger than what it is made of is measured: what is written, joined, repeated, collected.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jinja2
from jinja2 import ext, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from octavo.models.chat_filters import (
    MAX_WIDTH,
    ChatNamespace,
    indent,
    join,
    refuse,
    replace,
    strftime_now,
    tojson,
)

SECONDS = 5.0
"""How long a template may take."""
_MAX_SOURCE = 1 << 18
_ROOM = 1 << 22
_MAX_BITS = 1024
_LONGEST = 300
# What an item of a list or dict counts as.
_ITEM = 8

_STRINGS = frozenset(
    """
    capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit
    isidentifier islower isnumeric isprintable isspace istitle isupper join lower lstrip partition
    removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines
    startswith strip swapcase title upper
    """.split()  # noqa: SIM905
)
_METHODS: tuple[tuple[Any, frozenset[str]], ...] = (
    (str, _STRINGS),
    (dict, frozenset(("get", "items", "keys", "values"))),
    ((list, tuple), frozenset(("count", "index"))),
    ((int, float), frozenset()),
)
"""What templates may call of plain values: nothing that makes more than it gets, but for two."""

_FILTERS = frozenset(
    """
    abs capitalize count d default dictsort e escape first float indent int items join last length
    list lower map max min reject rejectattr replace reverse round safe select selectattr sort
    string title trim unique upper
    """.split()  # noqa: SIM905
)


def render(template: str, values: dict[str, Any]) -> str:
    """Return what a template writes of plain values; whatever it does wrong is a ValueError."""
    if len(template) > _MAX_SOURCE:
        raise ValueError(
            f"chat template: expected at most {_MAX_SOURCE} characters, got {len(template)}"
        )
    sandbox = _Sandbox()
    sandbox.begin(values)
    try:
        return sandbox.from_string(template).render(values)
    except jinja2.TemplateSyntaxError as error:
        problem = f"line {error.lineno}: {error.message}"
    except jinja2.TemplateError as error:
        problem = str(error.message)
    except RecursionError:
        problem = "it is nested too deeply"
    except MemoryError:
        raise
    except Exception as error:  # templates can raise what Python's operators and methods do
        problem = f"{type(error).__name__}: {error}"
    short = problem if len(problem) <= _LONGEST else f"{problem[:_LONGEST]}..."
    raise ValueError(f"chat template: {short}") from None


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols, _Generation]
        )
        known = {name: value for name, value in self.filters.items() if name in _FILTERS}
        known |= {"join": join, "replace": replace, "indent": indent, "tojson": tojson}
        self.filters = {name: self._measured(value) for name, value in known.items()}
        self.globals = {
            "range": self.globals["range"],
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
            "namespace": ChatNamespace,
            "raise_exception": refuse,
            "strftime_now": strftime_now,
        }

    def begin(self, values: dict[str, Any]) -> None:
        """Set the bounds of a run."""
        self._room: float = math.inf
        self._left = self._room = _ROOM + 2 * self._size(values)
        self._end = time.monotonic() + SECONDS

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = _Guards().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def look(self, *_: Any) -> None:
        """Look at the clock."""
        if time.monotonic() > self._end:
            refuse(f"it takes more than {SECONDS:g} seconds")

    def held(self, value: Any) -> Any:
        """Return a value that is not too large."""
        self.look()
        self._size(value)
        return value

    def written(self, value: Any) -> Any:
        """Return a value that is written out, if there is room for it."""
        self.look()
        self._left -= self._size(value)
        if self._left < 0:
            refuse(f"it writes more than {self._room:.0f} characters")
        return value

    def _size(self, value: Any) -> int:
        """Return how many characters a value has, each as often as it occurs, with its items."""
        total, todo = 0, [value]
        while todo:
            one = todo.pop()
            if isinstance(one, str):
                total += len(one)
            elif isinstance(one, (dict, list, tuple)):
                total += _ITEM * len(one)
                if total <= self._room:
                    todo.extend(one)
                    todo.extend(one.values() if isinstance(one, dict) else ())
            self.room_for(total)
        return total

    def joined(self, parts: list[Any]) -> str:
        """Return values as one text; what ``~`` does."""
        self.look()
        self.room_for(self._size(parts))
        return "".join(map(str, parts))

    def room_for(self, size: int) -> None:
        """Refuse to make a value of such a size."""
        if size > self._room:
            refuse(f"it makes a value of more than {self._room:.0f} characters")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use an attribute; of plain values, a few methods."""
        for kind, methods in _METHODS:
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Make no exception for ``str.format``, which fills up to any width."""

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute an operator whose result may be larger than what it is computed of."""
        if operator == "%" and isinstance(left, str):
            refuse("the operator % is not available for strings")
        if operator == "**" and not (abs(right) <= MAX_WIDTH and abs(left) < 2.0**MAX_WIDTH):
            refuse(f"the operator ** takes exponents up to {MAX_WIDTH}")
        if operator == "*":
            for one, count in ((left, right), (right, left)):
                if isinstance(one, (str, list, tuple)) and isinstance(count, int):
                    self.room_for(max(1, self._size(one)) * count)
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, int) and found.bit_length() > _MAX_BITS:
            refuse(f"it makes a number of more than {_MAX_BITS} bits")
        return self.held(found)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call what a template calls; methods of strings that make larger ones are ours."""
        if __obj in (__self.look, __self.held, __self.written, __self.joined):
            return __obj(*args)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str) and __obj.__name__ == "replace":
            return replace(__self, owner, *args)
        if isinstance(owner, str) and __obj.__name__ == "join":
            return join(__self, list(*args), owner)
        return __self.held(super().call(__context, __obj, *args, **kwargs))

    def _measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(function)(
            lambda *args, **kwargs: self.held(function(*args, **kwargs))
        )


class _Guards(NodeTransformer):
    """Puts calls of the environment's methods where a template repeats, collects and writes."""

    def _repeated(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("look", nodes.Const(None))))
        return node

    visit_For = visit_Macro = visit_CallBlock = _repeated  # noqa: N815

    def _collected(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else _call("held", node)

    visit_List = visit_Tuple = visit_Dict = _collected  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("joined", nodes.List(node.nodes))

    def visit_Output(self, node: nodes.Output) -> list[nodes.Node]:  # noqa: N802
        """Measure each expression, and the text between them at once."""
        self.generic_visit(node)
        fixed = "".join(one.data for one in node.nodes if isinstance(one, nodes.TemplateData))
        node.nodes = [
            one if isinstance(one, nodes.TemplateData) else _call("written", one)
            for one in node.nodes
        ]
        return [nodes.ExprStmt(_call("written", nodes.Const(fixed))), node]


def _call(method: str, argument: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(method), [argument], [], None, None)


class _Generation(ext.Extension):
    """Lets ``{% generation %}`` stand, which marks what the model has written, for training."""

    tags = frozenset(("generation",))  # type: ignore[assignment]

    def parse(self, parser: Any) -> list[nodes.Node]:
        """Return what stands between the tags."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))

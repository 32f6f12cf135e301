# SPDX-License-Identifier: Apache-2.0
"""The target of chat templates: programs put together of what Jinja has, at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

from fuzz.engine import Target
from fuzz.mutate import LARGEST, Files, change_bytes
from octavo.models import render_chat

if TYPE_CHECKING:
    import random
    from pathlib import Path

_NAME = "x.jinja"
_FIRST = (
    "{% set a = 'ab' %}{% set n = namespace(a=[1]) %}{% set m = messages[0] %}"
    "{% macro f(x) %}{{ x }}{{ caller() if caller else '' }}{% endmacro %}"
)
_MESSAGES = [{"role": "user", "content": "Hi\n"}, {"role": "assistant", "content": "é" * 50}]
_SEEDS = (
    "{% for m in messages %}{{ m.role ~ m['content'] | trim }}{% endfor %}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(messages) }}{% set n = namespace(a=1) %}",
)
_ATOMS = (
    *("messages", "m", "m.content", "m.role", "a", "n", "n.a", "loop", "loop.index", "f", "self"),
    *("0", "1", "7", "99999", "99999999999", "-1", "1.5", "1e308", "none", "true", "''", "'a'"),
    *("'ab' * 9999", "range(99999)", "[]", "{}", "namespace", "dict", "caller", "varargs"),
)
_BINARY = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or", "is not")
_TESTS = (
    "defined",
    "string",
    "mapping",
    "iterable",
    "none",
    "divisibleby(3)",
    "sameas(a)",
    "in(a)",
)
_CALLS = (
    *("join", "list", "length", "tojson", "replace", "indent", "map", "sort", "string", "unique"),
    *("dictsort", "select", "reverse", "first", "round", "int", "escape", "center"),
)
_METHODS = (
    *("replace", "join", "split", "items", "get", "format", "zfill", "upper", "index", "append"),
    *("__class__", "__init__", "a", "to_bytes", "keys", "encode", "strip", "count", "pop"),
)


# @ stands for an expression, # for statements.
_EXPRESSIONS = (
    *("[@, @]", "{@: @}", "{'a': @, 'b': @}", "(@ if @ else @)"),
    *(f"(@){index}" for index in ("[@]", "[::-1]", "[1:]", "[:@]")),
    *(f"(@ {operator} @)" for operator in _BINARY),
    *(f"(@ is {test})" for test in _TESTS),
    *(f"(@ | {name})" for name in _CALLS),
    *(f"(@ | {name}(@))" for name in _CALLS),
    *(f"(@).{name}()" for name in _METHODS),
    *(f"(@).{name}(@)" for name in _METHODS),
    *("f(@)", "dict(a=@, b=@)", "namespace(a=@)", "(@).replace(@, @)", "(@ | replace(@, @))"),
)
_STATEMENTS = (
    *("{{ @ }}", "{% set a = @ %}", "{% set a %}#{% endset %}", "{% set n = namespace(a=@) %}"),
    *("{% set n.a = [n.a, @] %}", "{% set a = a ~ a ~ @ %}", "{% set a = {'a': a, 'b': a} %}"),
    *("{% for m in @ %}#{% endfor %}", "{% for m in range(999) %}#{% endfor %}"),
    *("{% for m in range(99999) if @ %}#{% endfor %}", "{% if @ %}#{% else %}#{% endif %}"),
    *("{% for m in [1, 2] recursive %}#{{ loop(@) }}{% endfor %}", "{% include @ %}"),
    *("{% macro f(a) %}#{{ f(@) }}{% endmacro %}{{ f(1) }}", "{% call f(@) %}#{% endcall %}"),
    *("{% filter upper %}#{% endfilter %}", "{% generation %}#{% endgeneration %}", "x" * 500),
    *("{% for m in [1, @] %}#{% break %}{% endfor %}", "# #", "# # #"),
)


def _filled(rng: random.Random, pattern: str, depth: int = 0) -> str:
    """Put expressions and statements in their places, fewer the deeper they are."""
    found = []
    for sign in pattern:
        if sign == "@":
            deeper = rng.random() < 0.75 - depth / 8
            one = rng.choice(_EXPRESSIONS if deeper else _ATOMS)
            found.append(_filled(rng, one, depth + 1))
        elif sign == "#":
            one = rng.choice(_STATEMENTS) if rng.random() < 1 - depth / 6 else "x"
            found.append(_filled(rng, one, depth + 1))
        else:
            found.append(sign)
    return "".join(found)


def _change(rng: random.Random, files: Files) -> Files:
    if rng.random() < 0.2:
        return {_NAME: change_bytes(rng, files[_NAME])[:LARGEST]}
    made = (_FIRST + _filled(rng, "# # #")).encode()
    return {_NAME: rng.choice((made, files[_NAME] + made))[:LARGEST]}


def _read(place: Path) -> str:
    template = (place / _NAME).read_bytes().decode(errors="replace")
    with mock.patch("octavo.models.chat_sandbox.SECONDS", 0.2):
        return render_chat(template, _MESSAGES, bos_token="<s>")


def _check(_: Path, found: Any) -> None:
    assert isinstance(found, str)
    assert len(found) < 1 << 23


TARGET = Target("chat", lambda _: [{_NAME: one.encode()} for one in _SEEDS], _change, _read, _check)

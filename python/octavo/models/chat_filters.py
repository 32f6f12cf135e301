# SPDX-License-Identifier: Apache-2.0
"""What chat templates may call, each with a bound of its own; this module needs jinja2."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import filters
from jinja2.utils import Namespace

from octavo._text import shown

MAX_WIDTH = 64
"""The widest indent, the largest exponent, the longest form of a date."""


class ChatNamespace(Namespace):
    """What a template assigns to in loops; names with an underscore are Python's."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, values = args[0], dict(*args[1:], **kwargs)
        Namespace.__init__(self)
        for name, value in values.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str) or name.startswith("_"):
            refuse(f"namespace: {shown(name)} is no name for a template")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"  # what is in it may be in it many times


def refuse(message: Any) -> NoReturn:
    """End the run; templates call it ``raise_exception``."""
    raise jinja2.TemplateError(str(message))


def strftime_now(form: str) -> str:
    """Return the date and time in a form."""
    if len(form) > MAX_WIDTH:
        refuse(f"strftime_now: expected at most {MAX_WIDTH} characters")
    return datetime.now().strftime(form)


@jinja2.pass_environment
def replace(sandbox: Any, text: Any, old: str, new: str, count: int | None = None) -> str:
    """Replace a part of a text, if there is room for the result."""
    text = str(text)
    sandbox.room_for(len(text) + text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


@jinja2.pass_environment
def join(sandbox: Any, items: Any, between: str = "", attribute: Any = None) -> str:
    """Join texts, if there is room for the result."""
    if attribute is not None:
        items = map(filters.make_attrgetter(sandbox, attribute), items)
    texts = [str(sandbox.held(item)) for item in items]
    sandbox.room_for(sum(map(len, texts)) + len(texts) * len(between))
    return between.join(texts)


def indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Indent lines."""
    size = width if isinstance(width, int) else len(width)
    if not 0 <= size <= MAX_WIDTH:
        refuse(f"indent: expected a width of at most {MAX_WIDTH}")
    return filters.do_indent(text, width, first, blank)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON as it is, where Jinja's own filter escapes it for HTML."""
    if indent is not None and not (isinstance(indent, int) and 0 <= indent <= MAX_WIDTH):
        refuse(f"tojson: expected an indent of at most {MAX_WIDTH}")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )

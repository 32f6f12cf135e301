# SPDX-License-Identifier: Apache-2.0
"""Conversations as the text that a model was trained on, by its chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from octavo._text import shown

_DEEPEST = 64
_PLAIN = (str, int, float, bool, type(None))


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    add_generation_prompt: bool = True,
    **values: Any,
) -> str:
    r"""Return a conversation as text, as transformers' ``apply_chat_template`` does.

    The template, which comes with a model, may read what it is given and nothing else: it runs in
    Jinja's immutable sandbox, without files and imports, for a bounded time, and writes a bounded
    text.

    Parameters
    ----------
    template : str
        In Jinja's language.
    messages : sequence of mapping
        What was said: ``{"role": "user", "content": "Hello"}`` and so on.
    add_generation_prompt : bool
        Whether the text ends where the model is to answer.
    **values
        What else the template may use: ``bos_token``, ``eos_token``, ``tools``, ...

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If messages or values hold other things than text, numbers, lists and dicts.
    ValueError
        If the template is none, refuses the messages, or does what it may not; the message says so.
    ModuleNotFoundError
        If jinja2 is not installed.

    Examples
    --------
    >>> from octavo.models import render_chat
    >>> template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    >>> print(render_chat(template, [{"role": "user", "content": "Hello"}]), end="")
    user: Hello
    """
    try:
        from octavo.models.chat_sandbox import render
    except ImportError:
        raise ModuleNotFoundError(
            "chat templates need the 'jinja2' package: pip install 'octavo[models]'"
        ) from None
    if not isinstance(template, str):
        raise TypeError(f"template: expected a string, got {type(template).__name__}")
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise TypeError(f"messages: expected a list of dicts, got {type(messages).__name__}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise TypeError(
                f"messages: item {index}: expected a dict, got {type(message).__name__}"
            )
    given = {"messages": messages, "tools": None, "documents": None, **values}
    plain = {name: _plain(value, name, 0) for name, value in given.items()}
    return render(template, {**plain, "add_generation_prompt": bool(add_generation_prompt)})


def _plain(value: Any, name: str, depth: int) -> Any:
    """Return a copy of text, numbers, lists and dicts: a template may call what objects have."""
    if depth > _DEEPEST:
        raise ValueError(f"{name}: expected at most {_DEEPEST} levels of lists and dicts")
    if isinstance(value, _PLAIN):
        return value if type(value) in _PLAIN else _base(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name}: expected strings as keys of dicts, got {shown(list(value))}")
        return {_base(key): _plain(item, name, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name, depth + 1) for item in value]
    raise TypeError(f"{name}: expected text, numbers, lists and dicts, got {type(value).__name__}")


def _base(value: Any) -> Any:
    """Return a value without what its class adds to it."""
    if isinstance(value, str):
        return str.__str__(value)
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)

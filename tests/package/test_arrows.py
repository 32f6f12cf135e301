# SPDX-License-Identifier: Apache-2.0
"""Who may import whom in the Python package: read from its sources, those in functions too."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import octavo

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "python"

# Modules beside the packages, which everything may stand on; private ones are shared on purpose.
FOUNDATION = {
    *("_backend", "_checks", "_cost_table", "_elementary", "_files", "_float_mode", "_formats"),
    *("_numpy", "_ops", "_packed_words", "_patterns", "_results", "_scales", "_text", "_types"),
    *("_version", "_warn"),
    *("functional", "qtensor", "runtime", "sparse", "timing", "tuning"),
}

# Package -> which others it may import. "octavo" is the package's own top, for what users type.
MAY_IMPORT: dict[str, set[str]] = {
    "algorithms": {"_backend", "_checks", "_float_mode", "_ops", "_scales", "_types"},
    "io": FOUNDATION,
    "data": FOUNDATION | {"io"},
    "nn": FOUNDATION | {"io"},
    "graph": FOUNDATION,
    "tflite": FOUNDATION | {"graph", "io"},
    "lora": FOUNDATION | {"io", "nn"},
    "models": FOUNDATION | {"io", "lora", "nn"},
    "compression": FOUNDATION | {"algorithms", "data", "graph", "io", "models", "nn", "tflite"},
    "evaluation": FOUNDATION | {"algorithms", "data", "io", "models", "nn"},
    "bench": FOUNDATION | {"data", "graph", "io", "models", "nn", "octavo", "tflite"},
    "demo": FOUNDATION
    | {"algorithms", "bench", "compression", "data", "evaluation", "io", "models", "nn"},
    "report": FOUNDATION
    | {"algorithms", "bench", "compression", "data", "evaluation", "io", "models", "nn"},
    "cli": FOUNDATION
    | {"bench", "compression", "data", "demo", "evaluation", "io", "lora", "models", "report"}
    | {"graph", "octavo", "tflite"},
    "torch": FOUNDATION | {"algorithms", "graph", "io", "models", "nn"},
    "transformers": FOUNDATION | {"io", "models", "nn", "torch"},
    "sentence_transformers": FOUNDATION | {"compression", "io", "models"},
    "peft": FOUNDATION | {"lora", "nn", "torch"},
}


class Import(NamedTuple):
    """One import statement, or one name of it."""

    by: str
    module: str
    line: int
    in_function: bool
    typing_only: bool


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in (PYTHON / "octavo").rglob("*.py"):
        parts = path.relative_to(PYTHON).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> list[Import]:
    return [one for name in modules() for one in _imports_of(name)]


def _imports_of(name: str) -> Iterator[Import]:
    for node, in_function, typing_only in _statements(
        ast.parse(modules()[name].read_text(encoding="utf-8"))
    ):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{name}, line {node.lineno}: a relative import"
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        for target in wanted:
            if target.partition(".")[0] != "octavo":
                continue
            while target not in modules() and target != "octavo._core":
                target = target.rpartition(".")[0]
            yield Import(name, target, node.lineno, in_function, typing_only)


def _statements(
    tree: ast.AST, in_function: bool = False, typing_only: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, in_function, typing_only
        deeper = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        yield from _statements(node, deeper, typing_only or types)


def room(module: str) -> str:
    """Return the package or module below octavo; what starts a program is the command line's."""
    if module.endswith("__main__"):
        return "cli"
    return module.split(".")[1] if "." in module else "octavo"


def test_every_package_has_a_row() -> None:
    assert set(MAY_IMPORT) | FOUNDATION | {"octavo"} == {room(name) for name in modules()}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_what_they_may(package: str) -> None:
    for one in imports():
        if room(one.by) == package != room(one.module):
            assert room(one.module) in MAY_IMPORT[package], one


def test_the_foundation_stands_alone() -> None:
    for one in imports():
        if room(one.by) in FOUNDATION:
            assert room(one.module) in FOUNDATION | {"_core"}, one


def test_private_modules_stay_in_their_package() -> None:
    for one in imports():
        parts = one.module.split(".")
        for depth in range(2, len(parts)):
            owner = ".".join(parts[:depth])
            is_inside = one.by == owner or one.by.startswith(f"{owner}.")
            assert is_inside or not parts[depth].startswith("_"), one


def test_algorithms_know_arrays_only() -> None:
    for path in (PYTHON / "octavo" / "algorithms").rglob("*.py"):
        for node, _, _ in _statements(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            for name in names:
                top = str(name).partition(".")[0]
                assert top not in {"torch", "transformers", "scipy", "sklearn"}, path


def circles(in_functions: bool) -> list[set[str]]:
    """Return the sets of modules that reach each other, of more than one (Tarjan 1972)."""
    arrows: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        if one.module in arrows and not one.typing_only and (in_functions or not one.in_function):
            arrows[one.by].add(one.module)
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_nodes: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        open_nodes.append(name)
        for target in arrows[name] - {name}:
            if target not in order:
                visit(target)
                lowest[name] = min(lowest[name], lowest[target])
            elif target in open_nodes:
                lowest[name] = min(lowest[name], order[target])
        if lowest[name] == order[name]:
            start = open_nodes.index(name)
            if len(open_nodes) - start > 1:
                found.append(set(open_nodes[start:]))
            del open_nodes[start:]

    for name in arrows:
        if name not in order:
            visit(name)
    return found


def test_imports_have_no_circle() -> None:
    assert circles(in_functions=False) == []
    assert circles(in_functions=True) == []


def test_no_module_decides_by_a_tier() -> None:
    """A tier is forced, detected and named in `runtime` and in data; others hand its name on."""
    table = (ROOT / "csrc" / "dispatch" / "isa.inc").read_text(encoding="utf-8")
    tiers = set(re.findall(r"^OCTAVO_ISA\(\w+, *(\w+)", table, re.MULTILINE)) - {"scalar"}
    assert "avx2" in tiers
    for name, path in modules().items():
        if name != "octavo.runtime":
            constants = {
                n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if is_text(n)
            }
            assert not constants & tiers, name


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_the_top_is_small() -> None:
    assert len(octavo.__all__) <= 25
    assert all(hasattr(octavo, name) for name in octavo.__all__)

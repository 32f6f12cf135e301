# SPDX-License-Identifier: Apache-2.0
"""Innermost loops in assembly, and how much is multiplied in them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_COMMENT = re.compile(r"//.*$|^\s*#.*$|\s#\s.*$")
_LABEL = re.compile(r"^([.\w$]+):")
_CONDITION = r"\.?(?:eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)"
_JUMP = re.compile(rf"^(?:j\w+|b(?:{_CONDITION})?|cbn?z|tbn?z)\s+(?:.*,\s*)?([.\w$]+)$")
_PREFIX = re.compile(r"^\{\w+\}\s*")
# A line of `llvm-objdump -d --no-show-raw-insn`.
_DISASSEMBLED = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*?)\s*(?:<[^>]*>)?$")
# Places in it that an assembler wants to have names for.
_ADDRESS = re.compile(r"^((?:b|cb|tb|adr)\S* (?:.*, )?)0x[0-9a-f]+$")
_LONGEST = 600  # instructions of a loop in a disassembly

INTEGER = re.compile(
    r"[su]s?dot|u?s?mmla|ummla|[su]ml[as]l2?|[su]mull2?|v?pmaddubsw|v?pmaddwd|vpdp[bw]\w+|pmullw"
)
FLOAT = re.compile(r"fml[as]|fmul|vfn?m(?:add|sub)\d+ps|v?mulps")
TO_INTEGER = re.compile(r"fcvtns|v?cvtps2dq")
# What one instruction does for 16 bytes of its registers: multiply-adds, or products alone.
_WORK = (
    (re.compile(r"\w?s?mmla"), 32),
    (re.compile(r"[su]s?dot|v?pmaddubsw|vpdpb\w+"), 16),
    (re.compile(r"[su]ml[as]l2?|[su]mull2?|v?pmaddwd|vpdpw\w+|pmullw"), 8),
    (FLOAT, 4),
)
_REGISTER_BYTES = {"x": 16, "y": 32, "z": 64}


@dataclass(frozen=True)
class Loop:
    """The instructions from a label to the jump back to it."""

    body: tuple[str, ...]

    def chosen(self, kind: re.Pattern[str]) -> tuple[str, ...]:
        """Return the instructions of a kind whose operands are vectors."""
        return tuple(
            line for line in self.body if kind.fullmatch(mnemonic(line)) and register_bytes(line)
        )

    def work(self, kind: re.Pattern[str]) -> int:
        """Return how many numbers a step multiplies."""
        found = self.chosen(kind)
        # There vpmaddwd only widens sums of pairs.
        pairs = any(mnemonic(line).endswith("pmaddubsw") for line in found)
        total = 0
        for line in found:
            if pairs and mnemonic(line).endswith("pmaddwd"):
                continue
            each = next(value for name, value in _WORK if name.fullmatch(mnemonic(line)))
            total += each * register_bytes(line) // 16
        return total


def mnemonic(line: str) -> str:
    """Return the instruction's name.

    Examples
    --------
    >>> mnemonic("{vex} vpdpbusd %ymm0, %ymm1, %ymm2")
    'vpdpbusd'
    """
    return _PREFIX.sub("", line).split(maxsplit=1)[0]


def register_bytes(line: str) -> int:
    """Return the width of the vector registers an instruction works on, 0 if it has none.

    Examples
    --------
    >>> register_bytes("vpdpbusd (%rax), %zmm1, %zmm2"), register_bytes("mul x0, x1, x2")
    (64, 0)
    """
    x86 = re.findall(r"%([xyz])mm", line)
    if x86:
        return _REGISTER_BYTES[x86[-1]]
    return 16 if re.search(r"\bv\d+\.", line) else 0


def loops_of_assembly(text: str, function: str | None = None) -> list[Loop]:
    """Return the innermost loops of a compiler's output, of one function if it is named.

    A loop reaches from a label to the last jump back to it; jumps out of it are taken as they are
    laid out, that is not at all.
    """
    body: list[str] = []
    labels: dict[str, int] = {}
    inside = function is None
    for raw in text.splitlines():
        line = _COMMENT.sub("", raw).strip()
        label = _LABEL.match(line)
        if label:
            inside = inside or label[1] == function
            labels[label[1]] = len(body)
        elif function is not None and re.match(rf"\.size\s+{function},", line):
            inside = False
        elif inside and line and not line.startswith("."):
            body.append(re.sub(r"\s+", " ", line))
    ranges = set()
    for end, line in enumerate(body):
        jump = _JUMP.match(line)
        if jump and labels.get(jump[1], end + 1) <= end:
            ranges.add((labels[jump[1]], end + 1))
    return [Loop(tuple(body[start:end])) for start, end in sorted(_innermost(ranges))]


def _innermost(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    known = list(ranges)
    for start, end in known:
        if not any((a, b) != (start, end) and start <= a and b <= end for a, b in known):
            yield start, end


def loops_of_disassembly(lines: Iterable[str]) -> Iterator[Loop]:
    """Yield the loops of ``llvm-objdump -d --no-show-raw-insn`` that hold no other loop."""
    recent: deque[tuple[int, str]] = deque(maxlen=_LONGEST)
    last = -1  # address of the latest loop's start
    for line in lines:
        found = _DISASSEMBLED.match(line)
        if not found:
            continue
        address, text = int(found[1], 16), re.sub(r"\s+", " ", found[2])
        recent.append((address, text))
        jump = _JUMP.match(text)
        if not jump or not jump[1].startswith("0x"):
            continue
        target = int(jump[1], 16)
        if target > address or target <= last or target < recent[0][0]:
            continue
        last = target
        yield Loop(tuple(_ADDRESS.sub(r"\1again", text) for at, text in recent if at >= target))


def hottest(loops: Iterable[Loop], kind: re.Pattern[str]) -> Loop | None:
    """Return the loop with the most instructions of a kind, of those the shortest."""
    found = [loop for loop in loops if loop.chosen(kind)]
    return max(found, key=lambda loop: (len(loop.chosen(kind)), -len(loop.body)), default=None)

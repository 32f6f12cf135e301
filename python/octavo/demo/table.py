# SPDX-License-Identifier: Apache-2.0
"""The demonstration's result as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.demo.run import DemoResult

__all__ = ["align", "render"]


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows of cells as lines: the first column to the left, the others to the right.

    Examples
    --------
    >>> for line in align([["size", "MB"], ["weights", "22.9"]]):
    ...     print(line)
    size       MB
    weights  22.9
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def render(result: DemoResult) -> str:
    """Return the result as plain text, without colours."""
    count = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    lines = [
        f"{result.model}",
        f"{result.backend} backend, {result.isa}, {count}",
        "",
        *_sizes(result),
        "",
        *_latencies(result),
        "",
        (
            f"cosine to float32 over {result.sentences} sentences: "
            f"mean {result.cosine_mean:.5f}, min {result.cosine_min:.5f}"
        ),
        "",
        *_errors(result),
    ]
    return "\n".join(lines)


def _sizes(result: DemoResult) -> list[str]:
    ratio = result.float_bytes / max(1, result.artifact_bytes)
    return align(
        [
            ["weights", "MB", ""],
            ["float32", f"{result.float_bytes / 1e6:.1f}", ""],
            ["int8", f"{result.artifact_bytes / 1e6:.1f}", f"{ratio:.2f}x smaller"],
        ]
    )


def _latencies(result: DemoResult) -> list[str]:
    rows = [["latency, 1 sentence", "float32 ms", "int8 ms", "faster", "of roofline"]]
    rows += [
        [
            f"{row.tokens} tokens",
            f"{row.float_ms:.2f}",
            f"{row.int8_ms:.2f}",
            f"{row.speedup:.2f}x",
            f"{row.roofline_share:.0%}",
        ]
        for row in result.latency
    ]
    unit, read = result.roofline["dot_gops"], result.roofline["read_gbs"]
    note = f"roofline of the linear layers: {unit:.0f} GOP/s int8, {read:.1f} GB/s read"
    return [*align(rows), note]


def _errors(result: DemoResult) -> list[str]:
    rows = [["error of each layer alone", "relative", "SQNR dB"]]
    rows += [
        [layer.name, f"{layer.relative:.3%}", f"{layer.sqnr_db:.1f}"] for layer in result.layers
    ]
    return align(rows)

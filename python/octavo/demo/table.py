# SPDX-License-Identifier: Apache-2.0
"""The demonstration's result as text."""

from __future__ import annotations

from collections.abc import Sequence

from octavo.demo.run import DemoResult


def align(rows: Sequence[Sequence[str]], columns: int | None = None) -> list[str]:
    """Lay out rows of cells as lines: the first column to the left, the others to the right.

    Rows wider than `columns` are stacked instead: a cell a line, under the row's first, with the
    title of its column.

    Examples
    --------
    >>> for line in align([["size", "MB"], ["weights", "22.9"]]):
    ...     print(line)
    size       MB
    weights  22.9
    >>> for line in align([["size", "MB"], ["weights", "22.9"]], columns=10):
    ...     print(line)
    weights
      MB 22.9
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    if columns is not None and sum(widths) + 2 * (len(widths) - 1) > columns:
        titles = rows[0][1:]
        return [
            line
            for first, *others in rows[1:]
            for line in [
                first,
                *(f"  {name} {cell}" for name, cell in zip(titles, others, strict=True) if cell),
            ]
        ]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def render(result: DemoResult, columns: int | None = None) -> str:
    """Return the result as plain text, without colours; tables wider than `columns` are stacked."""
    count = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    lines = [
        f"{result.model}",
        f"{result.backend} backend, {result.isa}, {count}",
        "",
        *_sizes(result, columns),
        "",
        *_latencies(result, columns),
        "",
        (
            f"cosine to float32 over {result.sentences} sentences: "
            f"mean {result.cosine_mean:.5f}, min {result.cosine_min:.5f}"
        ),
        "",
        *_errors(result, columns),
        "",
        "next, in Python:",
        "  import octavo",
        f"  model = octavo.compress({result.model!r}, {result.recipe!r})",
        '  vectors = model.encode(["the first sentence", "and the second"])',
    ]
    return "\n".join(lines)


def _sizes(result: DemoResult, columns: int | None) -> list[str]:
    ratio = result.float_bytes / max(1, result.artifact_bytes)
    return align(
        [
            ["weights", "MB", ""],
            ["float32", f"{result.float_bytes / 1e6:.1f}", ""],
            ["int8", f"{result.artifact_bytes / 1e6:.1f}", f"{ratio:.2f}x smaller"],
        ],
        columns,
    )


def _latencies(result: DemoResult, columns: int | None) -> list[str]:
    rows = [["latency, 1 sentence", "float32 ms", "int8 ms", "faster", "of roofline"]]
    rows += [
        [
            f"{row.tokens} tokens",
            f"{row.float_ms:.2f}",
            f"{row.int8_ms:.2f}",
            "?" if row.disturbed else f"{row.speedup:.2f}x",
            f"{row.roofline_share:.0%}",
        ]
        for row in result.latency
    ]
    unit, read = result.roofline["dot_gops"], result.roofline["read_gbs"]
    note = f"roofline of the linear layers: {unit:.0f} GOP/s int8, {read:.1f} GB/s read"
    reason = next((row.disturbed for row in result.latency if row.disturbed), None)
    busy = [] if reason is None else [f"the machine was busy ({reason}); time it again"]
    return [*align(rows, columns), note, *busy]


def _errors(result: DemoResult, columns: int | None) -> list[str]:
    sparse = any(layer.held != "dense" for layer in result.layers)
    rows = [["error of each layer alone", "relative", "SQNR dB", *["zeros", "held"] * sparse]]
    for layer in result.layers:
        more = [f"{layer.zeros:.0%}", layer.held] if sparse else []
        rows.append([layer.name, f"{layer.relative:.3%}", f"{layer.sqnr_db:.1f}", *more])
    return align(rows, columns)

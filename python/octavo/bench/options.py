# SPDX-License-Identifier: Apache-2.0
"""What a benchmark run is asked for, and the tiers and thread counts it walks through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from octavo import runtime
from octavo.bench import blas


@dataclass(frozen=True)
class Options:
    """Shapes, thread counts and tiers; empty tuples mean "the usual ones"."""

    shapes: tuple[tuple[int, ...], ...] = ()
    threads: tuple[int, ...] = ()
    isas: tuple[str, ...] = ()
    rounds: int = 7
    seconds: float = 0.3
    model: str | None = None

    @property
    def quick(self) -> bool:
        """Whether only few, short rounds are wanted."""
        return self.rounds < 5


def parse_shapes(text: str, rank: int) -> tuple[tuple[int, ...], ...]:
    """Parse ``"1x384x384,8x768x768"`` into tuples of `rank` positive integers."""
    form = "x".join("MNK" if rank == 3 else "AB")
    shapes = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        try:
            shape = tuple(int(number) for number in part.lower().split("x"))
        except ValueError:
            shape = ()
        if len(shape) != rank or min(shape, default=0) < 1:
            raise ValueError(f"shapes: expected {form} with positive integers, got {part!r}")
        shapes.append(shape)
    if not shapes:
        raise ValueError(f"shapes: expected a list such as {form},{form}, got {text!r}")
    return tuple(shapes)


def parse_threads(text: str) -> tuple[int, ...]:
    """Parse ``"1,2"`` into positive integers."""
    try:
        counts = tuple(int(piece) for piece in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise ValueError(f"threads: expected positive integers such as 1,2, got {text!r}")
    return counts


def parse_isas(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of tiers; ``all`` stands for every tier of the machine."""
    usable = tuple(str(name) for name in runtime.isa_tiers())
    if text.strip() == "all":
        return usable
    names = tuple(piece.strip() for piece in text.split(","))
    for name in names:
        if name not in usable:
            raise ValueError(f"isa: expected one of {', '.join(usable)} or all, got {name!r}")
    return names


def configurations(options: Options) -> Iterator[tuple[str, int]]:
    """Yield each (tier, threads) with the library, and NumPy's BLAS, set to it.

    Both settings are back to what they were when the iteration ends.
    """
    threads_before = runtime.get_num_threads()
    for isa in options.isas or (None,):
        with ExitStack() as forced:
            if isa is not None:
                forced.enter_context(runtime.use_isa(isa))
            for count in options.threads or (threads_before,):
                try:
                    runtime.set_num_threads(count)
                    with blas.limited(count):
                        yield str(runtime.get_isa()), int(runtime.get_num_threads())
                finally:
                    runtime.set_num_threads(threads_before)

# SPDX-License-Identifier: Apache-2.0
"""Results that are rows: a sequence, and printed a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Rows(Generic[T]):
    """A sequence of rows; whoever inherits prints it as a table."""

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self._rows)

    def __getitem__(self, index: int) -> T:
        return self._rows[index]

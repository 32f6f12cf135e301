# SPDX-License-Identifier: Apache-2.0
"""Calibration inputs of any module: what it is called with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from octavo import _checks
from octavo._text import shown
from octavo.data.sources import CalibrationData, is_parts, source_of


class Call(NamedTuple):
    """The arguments of a call, and where they come from, for messages."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    where: str

    def make(self, module: Callable[..., Any]) -> Any:
        """Call a module; its TypeError and ValueError say where the arguments come from."""
        try:
            return module(*self.arguments, **self.named)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.where}: {error}") from None


def calls_of(calibration: CalibrationData) -> Iterator[Call]:
    """Yield the calls that calibration data stands for.

    Parameters
    ----------
    calibration : array, dict, or what `source_of` takes
        An item is an array, a tuple or list of arrays, or a dict of arrays by argument name. An
        array or a dict alone is a single item.
    """
    if isinstance(calibration, Mapping) or _checks.is_typed(calibration):
        yield _call(calibration, "calibration")
        return
    empty = True
    for index, item in enumerate(source_of(calibration).open()):
        empty = False
        yield _call(item, f"calibration[{index}]")
    if empty:
        raise ValueError("calibration: expected at least one input, got none")


def _call(item: Any, where: str) -> Call:
    if isinstance(item, Mapping):
        named = {str(key): _checked(value, f"{where}[{shown(key)}]") for key, value in item.items()}
        return Call((), named, where)
    if is_parts(item):
        parts = [_checked(part, f"{where}[{index}]") for index, part in enumerate(item)]
        return Call(tuple(parts), {}, where)
    return Call((_checked(item, where),), {}, where)


def _checked(value: Any, where: str) -> Any:
    array = _checks.as_array(value, where)
    if array.dtype.kind == "f":
        _checks.check_finite(array, where)
        if not _checks.is_typed(value):
            return _checks.as_float32(value, where)
    return array

# SPDX-License-Identifier: Apache-2.0
"""Tables of calls that are refused, each with an error that begins with the argument's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Refusal = tuple[type[Exception], str, "Callable[[], Any]"]


def refusals(cases: Mapping[str, Refusal]) -> Callable[[str], None]:
    """The test of a table: exception, argument and call of each case."""

    @pytest.mark.parametrize("case", cases)
    def test(case: str) -> None:
        error, argument, call = cases[case]
        with pytest.raises(error, match=f"^{argument}: "):
            call()

    return test

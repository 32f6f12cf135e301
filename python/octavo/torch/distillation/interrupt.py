# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C that waits for the end of a training step."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interruptions:
    """While active, the first SIGINT only sets `came`; the second one interrupts at once.

    Python runs signal handlers in the main thread only; elsewhere this does nothing.
    """

    def __init__(self, active: bool) -> None:
        self.came = False
        self._active = active and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Interruptions:
        if self._active:
            self._before: Any = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._before or signal.SIG_DFL)

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True

# SPDX-License-Identifier: Apache-2.0
"""Child processes that answer in lines of JSON, and cannot hang their parent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

_STEP_SECONDS = 0.2
"""Waiting is done in such steps: on Windows nothing interrupts a longer one."""

_LAST_SECONDS = 5.0
"""What a child gets to end, once it is killed, or has closed its side and has a time limit."""

Send = Callable[[Mapping[str, Any]], None]


class ChildError(RuntimeError):
    """A child ended, or was ended, before it had said what it was asked."""


class Child:
    """``python -m module`` with a request in JSON, running from now on; a context that ends it.

    Examples
    --------
    >>> with Child("octavo.bench.no_such_module", {}) as child:  # doctest: +SKIP
    ...     list(child.answers())
    Traceback (most recent call last):
    octavo.bench.children.ChildError: exit code 1
    """

    def __init__(
        self, module: str, request: Mapping[str, Any], env: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(request)],
            env=env,
            stdout=subprocess.PIPE,
            # Ctrl-C is for this process, which then ends the child.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # Waits for what the child says, so that the thread that listens can stop.
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()

    def answers(self, seconds: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield what the child says, line by line.

        Raises
        ------
        ChildError
            If it fails, does not answer in JSON, or is not done after so many seconds.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            if end is not None and time.monotonic() > end:
                raise ChildError(f"no end after {seconds:.0f} s")
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=_STEP_SECONDS)
                if line is None:
                    break
                yield _parsed(line)
        try:
            code = self._process.wait(None if seconds is None else _LAST_SECONDS)
        except subprocess.TimeoutExpired:
            raise ChildError("it said all and does not end") from None
        if code:
            raise ChildError(f"exit code {code}")

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it if it still runs; what even that does not end, is left behind."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_SECONDS)
            self._reader.join(_LAST_SECONDS)
        if not self._reader.is_alive():
            self._stream.close()

    @property
    def _stream(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _pass_on(self) -> None:
        for line in self._stream:
            self._lines.put(line)
        self._lines.put(None)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ChildError(f"it said {line[:80]!r}, which is no answer")
    if "error" in answer:
        raise ChildError(str(answer["error"]))
    return answer


def serve(argument: str, work: Callable[[dict[str, Any], Send], None]) -> int:
    """Do ``work(request, send)`` in a child; return its exit code.

    Nothing but what is sent reaches the parent: whatever libraries print goes to stderr.
    """
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(answer: Mapping[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    try:
        work(json.loads(argument), send)
    except BrokenPipeError:  # nobody listens any more
        return 1
    except Exception as error:  # the parent says it; a traceback would help nobody
        send({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0

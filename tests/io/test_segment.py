# SPDX-License-Identifier: Apache-2.0
"""The lock under which segments are made; what they hold, tests/models/test_shared.py looks at."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from threading import Thread

import pytest

from octavo.io import segment

pytestmark = pytest.mark.skipif(segment.missing() is not None, reason=str(segment.missing()))

LOCKER = """
import sys, time
from octavo.io import segment

with segment.locked(sys.argv[1]):
    print(flush=True)
    time.sleep(600)
"""


def enters(name: str) -> Thread:
    def enter() -> None:
        with segment.locked(name):
            pass

    thread = Thread(target=enter, daemon=True)
    thread.start()
    thread.join(0.3)
    return thread


def test_the_dead_lock_nothing() -> None:
    name = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKER, name],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    waiting = enters(name)
    assert waiting.is_alive()
    assert not enters(name[::-1]).is_alive()
    process.kill()
    process.communicate(timeout=60)
    waiting.join(60)
    assert not waiting.is_alive()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_locks_nothing() -> None:
    name, (reader, writer) = uuid.uuid4().hex, os.pipe()
    with segment.locked(name):
        child = os.fork()
        if child == 0:
            os.read(reader, 1)
            os._exit(0)
    assert not enters(name).is_alive()
    os.write(writer, b"x")
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)

# SPDX-License-Identifier: Apache-2.0
"""Tiers to test on, and strictness shared by all tests.

`isa` runs a test once per tier: the NumPy fallback first, then every tier the native module can
use here.  `OCTAVO_TEST_REQUIRE=avx2,avx512vnni` makes the whole run fail where one is missing.
`--run-slow` adds the full grids, on every tier, and ten times the examples.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

# PyTorch's threads wait for each other by spinning: on the small models here two of them take five
# times the CPU of one. Whoever sets it, for a run of its own, is left alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest

from grids import of_the_day
from isa_tiers import TIERS
from octavo import _backend, runtime
from processes import skipped_under_qemu

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile(
    "octavo",
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("octavo")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="full grids, and more examples")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if not _repeats(item)]
    if not config.getoption("--run-slow"):
        kept = of_the_day(items)
        config.hook.pytest_deselected(items=list(set(items) - set(kept)))
        items[:] = kept


def _repeats(item: pytest.Item) -> bool:
    """Whether a test says what another does: NumPy computes on one thread, whatever is asked."""
    call = getattr(item, "callspec", None)
    return call is not None and (
        call.params.get("isa") == "numpy" and call.params.get("threads", 1) > 1
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--run-slow"):
        hypothesis.settings.register_profile("slow", hypothesis.settings(), max_examples=500)
        hypothesis.settings.load_profile("slow")
    # No test reads or writes the table of `octavo tune` in the home folder.
    os.environ["OCTAVO_TUNING"] = ""
    runtime._TUNING_FILE = None
    required = [name for name in os.environ.get("OCTAVO_TEST_REQUIRE", "").split(",") if name]
    missing = [name for name in required if name not in TIERS]
    if missing:
        raise pytest.UsageError(f"OCTAVO_TEST_REQUIRE: {missing} not among the tiers here: {TIERS}")


@pytest.fixture(scope="session", autouse=True)
def without_processes() -> Iterator[None]:
    """Tests that start a process skip where that cannot be."""
    with skipped_under_qemu():
        yield


@pytest.fixture(params=TIERS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """The tier a test runs on, checked to be the one in use."""
    tier = request.param
    with _backend.use("numpy" if tier == "numpy" else "native"), runtime.use_isa(tier):
        assert runtime.get_isa() == tier
        yield tier
        assert runtime.get_isa() == tier


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest, isa: str) -> Iterator[int]:
    """A thread count on the tier's backend (the NumPy one always has 1)."""
    core = _backend.backend
    before = core.get_num_threads()
    core.set_num_threads(request.param)
    yield request.param
    core.set_num_threads(before)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, here and in what is started, also where a shell's `&` has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

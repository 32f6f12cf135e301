# SPDX-License-Identifier: Apache-2.0
"""One command each: `nox` lints and tests, `nox -s bench` measures."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Run every linter that CI runs."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests against a native build."""
    session.install(".[test]", env={"OCTAVO_REQUIRE_NATIVE": "1"})
    session.run("pytest", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare with whichever peers are installed."""
    session.install(".[bench]", env={"OCTAVO_REQUIRE_NATIVE": "1"})
    session.run("python", "bench/linear.py", *session.posargs)

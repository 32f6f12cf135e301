# SPDX-License-Identifier: Apache-2.0
"""octavo.runtime, the choice of the backend, the environment, and what an import costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octavo
from isa_tiers import TIERS
from octavo import _backend, runtime

PACKAGE = Path(octavo.__file__).parent


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OCTAVO_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.usefixtures("isa")
def test_tiers(isa: str) -> None:
    tiers = runtime.isa_tiers()
    assert runtime.get_isa() == isa
    assert isa in tiers
    tiers.clear()
    assert isa in runtime.isa_tiers()
    with runtime.use_isa(None):
        assert runtime.get_isa() == runtime.isa_tiers()[0]
    assert runtime.get_isa() == isa


@pytest.mark.usefixtures("isa")
def test_use_isa_restores_after_an_error(isa: str) -> None:
    with pytest.raises(KeyError), runtime.use_isa(None):
        raise KeyError
    assert runtime.get_isa() == isa
    runtime.use_isa(runtime.isa_tiers()[-1])
    assert runtime.get_isa() == runtime.isa_tiers()[-1]
    runtime.use_isa(isa)


@pytest.mark.usefixtures("isa")
def test_unknown_tiers(isa: str) -> None:
    for name in ("avx1024", "", "AVX2", " avx2", "scalar,avx2"):
        with pytest.raises(ValueError, match=r"^name: .*not a tier of this build"):
            runtime.use_isa(name)
    for wrong in (3, True, b"avx2", ["avx2"]):
        with pytest.raises(TypeError, match=r"^name: "):
            runtime.use_isa(wrong)  # type: ignore[arg-type]
    assert runtime.get_isa() == isa


@pytest.mark.usefixtures("isa")
def test_threads() -> None:
    before = octavo.runtime.get_num_threads()
    try:
        octavo.runtime.set_num_threads(1)
        assert octavo.runtime.get_num_threads() == 1
        octavo.runtime.set_num_threads(np.int64(2))
        assert octavo.runtime.get_num_threads() in (1, 2)
    finally:
        octavo.runtime.set_num_threads(before)
    for wrong in (0, -1, 10**6, 2**80):
        with pytest.raises(ValueError, match=r"^n: "):
            octavo.runtime.set_num_threads(wrong)
    for wrong in (1.0, "2", None, True):
        with pytest.raises(TypeError, match=r"^n: "):
            octavo.runtime.set_num_threads(wrong)  # type: ignore[arg-type]
    assert octavo.runtime.get_num_threads() == before


@pytest.mark.usefixtures("isa")
def test_cpu_info(isa: str) -> None:
    info = octavo.runtime.cpu_info()
    assert info["isa"] == isa
    assert info["backend"] == ("numpy" if isa == "numpy" else "native")
    assert info["version"] == octavo.__version__ == _backend.backend.version()
    assert info["isa_tiers"] == runtime.isa_tiers()
    assert set(info["isa_tiers"]) <= set(info["compiled_isa_tiers"])
    assert info["num_threads"] == octavo.runtime.get_num_threads()
    assert info["default_num_threads"] >= 1
    assert all(isinstance(value, bool) for value in info["features"].values())
    assert info["backend_reason"]
    assert info["cpu"]


def test_backends_offer_the_same_functions() -> None:
    with _backend.use("numpy") as numpy_backend:
        names = {name for name in dir(numpy_backend) if name in numpy_backend.__all__}
    assert names == set(numpy_backend.__all__)
    if len(TIERS) > 1:
        with _backend.use("native") as core:
            assert names <= set(dir(core))


def test_the_numpy_backend_has_no_kernels() -> None:
    with _backend.use("numpy") as numpy_backend:
        assert numpy_backend.families() == []
        with pytest.raises(ValueError, match=r"^family: "):
            numpy_backend.kernels("gemm")


def test_backend_can_be_chosen() -> None:
    code = (
        "from octavo.runtime import cpu_info; i = cpu_info();"
        " print(i['backend'], '|', i['backend_reason'])"
    )
    run = python(code, OCTAVO_BACKEND="numpy")
    assert run.stdout.split(" | ") == ["numpy", "OCTAVO_BACKEND=numpy\n"]
    run = python(code)
    assert run.stdout.startswith("native" if len(TIERS) > 1 else "numpy"), run.stderr
    run = python(code, OCTAVO_BACKEND="native")
    if len(TIERS) > 1:
        assert run.stdout.startswith("native")
    else:
        assert "ImportError: OCTAVO_BACKEND=native, but" in run.stderr
    run = python(code, OCTAVO_BACKEND="cuda")
    assert "ValueError: OCTAVO_BACKEND: expected one of auto, native, numpy" in run.stderr


def test_an_archive_runs_with_numpy_and_says_so(tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "all"), "zip", PACKAGE.parent, PACKAGE.name))
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); import octavo, octavo.tuning;"
        " print(octavo.__file__, octavo.runtime.cpu_info()['backend']);"
        " octavo.tuning.costs('avx2')"
    )
    run = python(code)
    assert run.stdout.split() == [str(archive / "octavo" / "__init__.py"), "numpy"], run.stderr
    assert "RuntimeWarning: octavo was imported from an archive, out of which no" in run.stderr
    assert python(code, OCTAVO_BACKEND="numpy").stderr == ""
    run = python(code, OCTAVO_BACKEND="native")
    assert "ImportError: OCTAVO_BACKEND=native, but octavo was imported from an arch" in run.stderr


@pytest.mark.parametrize("choice", ["auto", "native"])
def test_a_broken_native_module_is_an_error(choice: str) -> None:
    broken = (
        "import sys, types; core = types.ModuleType('octavo._core');"
        "core.version = lambda: '0.0.0'; sys.modules['octavo._core'] = core; import octavo"
    )
    run = python(broken, OCTAVO_BACKEND=choice)
    assert "ImportError: octavo._core is version 0.0.0" in run.stderr
    unloadable = (
        "import sys; from importlib.abc import MetaPathFinder\n"
        "class Finder(MetaPathFinder):\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'octavo._core': raise ImportError('bad file')\n"
        "sys.meta_path.insert(0, Finder()); import octavo"
    )
    run = python(unloadable, OCTAVO_BACKEND=choice)
    assert "ImportError: octavo._core is there but cannot be loaded: bad file" in run.stderr
    assert python(unloadable, OCTAVO_BACKEND="numpy").returncode == 0


BAD_ENVIRONMENTS: list[Any] = [
    ("OCTAVO_ISA", "avx1024"),
    ("OCTAVO_ISA", "numpy,scalar"),
    ("OCTAVO_NUM_THREADS", "0"),
    ("OCTAVO_NUM_THREADS", "-3"),
    ("OCTAVO_NUM_THREADS", "many"),
    ("OCTAVO_NUM_THREADS", "1.5"),
    ("OCTAVO_NUM_THREADS", "99999999999999999999"),
    ("OCTAVO_RESULT_CACHE", "-1"),
    ("OCTAVO_RESULT_CACHE", "64 MB"),
    ("OCTAVO_RESULT_CACHE", "2000000000000"),
]


@pytest.mark.parametrize(("name", "value"), BAD_ENVIRONMENTS)
def test_bad_environment_stops_the_import(name: str, value: str) -> None:
    run = python("import octavo", **{name: value})
    assert run.returncode == 1
    assert f"ValueError: {name}: expected" in run.stderr
    assert value in run.stderr


def test_environment_is_applied() -> None:
    code = "import octavo; print(octavo.runtime.get_isa(), octavo.runtime.get_num_threads())"
    for tier in TIERS[1:]:
        run = python(code, OCTAVO_ISA=tier, OCTAVO_NUM_THREADS="3")
        assert run.stdout.split() == [tier, "3"], run.stderr
    run = python(code, OCTAVO_BACKEND="numpy", OCTAVO_ISA="numpy", OCTAVO_NUM_THREADS="3")
    assert run.stdout.split() == ["numpy", "1"], run.stderr
    run = python(code, OCTAVO_BACKEND="numpy", OCTAVO_ISA="", OCTAVO_NUM_THREADS=" ")
    assert run.stdout.split() == ["numpy", "1"], run.stderr


def test_import_brings_only_numpy() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import octavo;"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    assert set(eval(python(code).stdout)) <= {"octavo", "numpy"}


def test_names() -> None:
    for name in octavo.__all__:
        assert name in dir(octavo)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        octavo.nonsense  # noqa: B018
    assert not hasattr(octavo, "__wrapped__")


def test_compress_stays_a_function() -> None:
    import octavo.compression

    assert callable(octavo.compress)
    assert octavo.compress is octavo.compression.compress


def test_backend_is_restored_after_an_error() -> None:
    before = _backend.backend, _backend.name, _backend.reason
    with pytest.raises(KeyError), _backend.use("numpy"):
        raise KeyError
    assert (_backend.backend, _backend.name, _backend.reason) == before
    with pytest.raises(ValueError, match=r"^OCTAVO_BACKEND: "), _backend.use("other"):
        pass

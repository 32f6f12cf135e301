# SPDX-License-Identifier: Apache-2.0
"""What a device says of itself: kinds of CPUs, caches, sensors; and files that say nonsense."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from device_files import CPU, arm_core, three_clusters, write_tree
from octavo.bench.device import clusters, levels, sensors
from octavo.bench.device.files import SystemFiles, format_cpus, parse_cpus

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", (0,)),
        ("0-3,6\n", (0, 1, 2, 3, 6)),
        ("4-5,0,4", (0, 4, 5)),
        *((bad, None) for bad in ("", ",", "3-1", "-1", "0-", "a", "0-99999", "1 2", "٣")),
    ],
)
def test_lists_of_cpus(text: str, cpus: tuple[int, ...] | None) -> None:
    assert parse_cpus(text) == cpus
    if cpus is not None:
        assert parse_cpus(format_cpus(cpus)) == cpus


def test_three_kinds_of_arm_cores(tmp_path: Path) -> None:
    files = SystemFiles(write_tree(tmp_path, three_clusters()))
    found, notes = clusters.find(files, tuple(range(8)))
    assert notes == []
    assert [(one.name, one.cpus, one.capacity, one.max_mhz) for one in found] == [
        ("cortex-x2", (7,), 1024, 3000),
        ("cortex-a710", (4, 5, 6), 828, 2500),
        ("cortex-a510", (0, 1, 2, 3), 325, 1800),
    ]
    assert found[2].caches == {1: 32 << 10, 2: 512 << 10}
    assert levels.buffers(found[2], 1, None) == {"L1": 16 << 10, "L2": 256 << 10, "DRAM": 64 << 20}
    assert levels.buffers(found[2], 4, GIB // 4)["L1"] == 64 << 10
    assert levels.buffers(found[2], 4, GIB // 4) == {
        "L1": 64 << 10,
        "L2": 256 << 10,
        "DRAM": 32 << 20,
    }


def test_cores_off_and_not_for_us_are_said(tmp_path: Path) -> None:
    tree = three_clusters() | {f"{CPU}/online": "0-3,6\n"}
    found, notes = clusters.find(SystemFiles(write_tree(tmp_path, tree)), (0, 1, 6))
    assert [(one.name, one.cpus) for one in found] == [
        ("cortex-a710", (6,)),
        ("cortex-a510", (0, 1)),
    ]
    assert notes == [
        "CPU 4-5,7: offline, not measured",
        "CPU 2-3: not for this process, not measured",
    ]


def test_parts_from_cpuinfo(tmp_path: Path) -> None:
    lines = []
    for cpu, part in enumerate(("0xd03", "0xd03", "0xd08", "0xfff", "no number")):
        lines += [f"processor\t: {cpu}", "CPU implementer\t: 0x41", f"CPU part\t: {part}", ""]
    tree = {"proc/cpuinfo": "\n".join(lines), f"{CPU}/online": "0-4", f"{CPU}/present": "0-4"}
    found, notes = clusters.find(SystemFiles(write_tree(tmp_path, tree)), (0, 1, 2, 3, 4))
    assert {one.name: one.cpus for one in found} == {
        "cortex-a53": (0, 1),
        "cortex-a72": (2,),
        "arm-41-fff": (3,),
        "cpu": (4,),
    }
    assert "no cpufreq: the CPUs' frequencies are not known" in notes
    assert sum("does not tell its caches" in note for note in notes) == 4
    assert levels.buffers(found[0], 2, None)["L1"] == 32 << 10
    assert list(levels.buffers(found[0], 1, None)) == ["L1", "L2", "DRAM"]


def test_hybrid_x86(tmp_path: Path) -> None:
    tree = {
        f"{CPU}/online": "0-5",
        f"{CPU}/present": "0-5",
        "sys/devices/cpu_atom/cpus": "2-5",
        "sys/devices/cpu_core/cpus": "0-1",
        **{f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq": f"{4_000_000 + cpu}" for cpu in range(6)},
    }
    found, _ = clusters.find(SystemFiles(write_tree(tmp_path, tree)), (0, 1, 2, 3, 4, 5))
    assert [(one.name, one.cpus) for one in found] == [
        ("performance", (0, 1)),
        ("efficiency", (2, 3, 4, 5)),
    ]


def test_favoured_cores_are_no_kind_of_their_own(tmp_path: Path) -> None:
    tree = {
        f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq": str(5_000_000 - 100_000 * cpu)
        for cpu in range(4)
    }
    found, _ = clusters.find(SystemFiles(write_tree(tmp_path, tree)), (0, 1, 2, 3))
    assert [(one.name, one.cpus, one.max_mhz) for one in found] == [("cpu", (0, 1, 2, 3), 5000)]


def test_one_core(tmp_path: Path) -> None:
    tree = {f"{CPU}/online": "0", f"{CPU}/present": "0", **arm_core(0, "cortex-a53", 1024, 1000)}
    (only,), notes = clusters.find(SystemFiles(write_tree(tmp_path, tree)), (0,))
    assert (only.name, only.cpus, only.max_mhz) == ("cortex-a53", (0,), 1)
    assert notes == []


def test_without_sys(tmp_path: Path) -> None:
    (only,), notes = clusters.find(SystemFiles(tmp_path), (0, 1))
    assert (only.name, only.cpus, only.caches) == ("cpu", (0, 1), {})
    assert notes[0] == f"/{CPU} is not there: kinds of CPUs cannot be told apart"


def test_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert clusters.usable_cpus() is None
    (only,), notes = clusters.find(SystemFiles(tmp_path), None)
    assert len(only.cpus) == os.cpu_count()
    assert not only.pinned
    assert notes[0] == (
        "threads cannot be held to CPUs on this system: all CPUs are taken together"
    )
    assert "does not tell its caches, usual sizes are taken" in notes[1]


GARBAGE = (b"", b"\n", b"\0\xff\xfe garbage", b"9" * 400, b"-7", b"1" * (1 << 16))


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: str(content[:8]))
def test_nonsense_is_nothing(tmp_path: Path, content: bytes) -> None:
    sensor = "sys/class/thermal/thermal_zone0"
    tree = dict.fromkeys(
        (
            *three_clusters(),
            *("proc/cpuinfo", f"{sensor}/type", f"{sensor}/temp", "sys/class/hwmon/hwmon0/name"),
            *("sys/class/hwmon/hwmon0/temp1_input", "sys/class/powercap/a:0/energy_uj"),
            *("sys/devices/cpu_core/cpus", "sys/class/power_supply/bms/type"),
        ),
        content,
    )
    files = SystemFiles(write_tree(tmp_path, tree))
    found, _ = clusters.find(files, tuple(range(8)))
    assert sorted(cpu for one in found for cpu in one.cpus) == list(range(8))
    assert all(one.caches == {} and one.max_mhz is None for one in found)
    assert sensors.temperatures(files) == {}
    assert sensors.find_meter(files)[0] is None
    assert sensors.slowest_mhz(files, (0, 1)) is None


def test_many_kinds_are_left_out(tmp_path: Path) -> None:
    cores = (arm_core(cpu, "cortex-a53", 100 + cpu, 1_000_000) for cpu in range(8))
    tree = {name: text for core in cores for name, text in core.items()}
    found, notes = clusters.find(SystemFiles(write_tree(tmp_path, tree)), tuple(range(8)))
    assert [one.cpus for one in found] == [(7,), (6,), (5,), (4,), (3,), (2,)]
    assert any("left out are cortex-a53 (CPU 1), cortex-a53 (CPU 0)" in note for note in notes)


def test_temperatures(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone{}/{}"
    tree = {
        zone.format(0, "type"): "battery",
        zone.format(0, "temp"): "31000",
        zone.format(2, "type"): "cpu-0",
        zone.format(2, "temp"): "64500",
        zone.format(10, "type"): "off",
        zone.format(10, "temp"): "-274000",
        zone.format(11, "type"): "degrees",
        zone.format(11, "temp"): "70",
        "sys/class/hwmon/hwmon1/name": "soc",
        "sys/class/hwmon/hwmon1/temp1_input": "50000",
    }
    files = SystemFiles(write_tree(tmp_path, tree))
    assert sensors.temperatures(files) == {"battery": 31.0, "cpu-0": 64.5, "soc temp1_input": 50.0}


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


def test_a_counter_of_energy_that_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    zone = "sys/class/powercap/intel-rapl:0"
    tree = {
        f"{zone}/energy_uj": "9000000",
        f"{zone}/name": "package-0",
        f"{zone}/max_energy_range_uj": "10000000",
        "sys/class/powercap/intel-rapl:0:0/energy_uj": "5",
        "sys/class/hwmon/hwmon0/name": "amdgpu",
        "sys/class/hwmon/hwmon0/power1_input": "40000000",
    }
    files = SystemFiles(write_tree(tmp_path, tree))
    meter, notes = sensors.find_meter(files)
    assert meter is not None
    assert (meter.source, notes) == ("powercap intel-rapl:0 (package-0)", [])
    reading = sensors.Reading(meter, files)
    reading.take()
    assert reading.watts() is None
    clock.now += 2
    write_tree(tmp_path, {f"{zone}/energy_uj": "5000000"})
    reading.take()
    assert reading.watts() == pytest.approx(3.0)


@pytest.mark.parametrize(("status", "watts"), [("Discharging", 4.0), ("Charging", None)])
def test_a_battery(tmp_path: Path, status: str, watts: float | None) -> None:
    supply = "sys/class/power_supply/bms"
    tree = {
        f"{supply}/type": "Battery",
        f"{supply}/status": status,
        f"{supply}/current_now": "-1000000",
        f"{supply}/voltage_now": "4000000",
    }
    files = SystemFiles(write_tree(tmp_path, tree))
    meter, notes = sensors.find_meter(files)
    if watts is None:
        assert meter is None
        assert notes == ["battery bms says Charging: its current is not what the device takes"]
    else:
        assert meter is not None
        reading = sensors.Reading(meter, files)
        reading.take()
        reading.take()
        assert reading.watts() == pytest.approx(watts)


def test_energy_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    files = SystemFiles(write_tree(tmp_path, {"sys/class/powercap/rapl:0/energy_uj": ""}))
    meter, notes = sensors.find_meter(files)
    assert meter is None
    assert notes == ["powercap rapl:0 (unnamed) is there but cannot be read: no energy from it"]
    assert sensors.find_meter(SystemFiles(tmp_path / "none")) == (
        None,
        ["the system exposes no energy: none is measured"],
    )

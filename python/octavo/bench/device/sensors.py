# SPDX-License-Identifier: Apache-2.0
"""What a device says of its own temperature, clock and power."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from octavo.bench.device.files import SystemFiles

_COLDEST, _HOTTEST = -40.0, 150.0
_SMALLEST_MILLIDEGREE = 1000
"""Below it a sensor that should count millidegrees seems to count degrees, or is off."""

_LEAST_WATTS, _MOST_WATTS = 0.01, 10_000.0
"""What is less or more is of another unit than the kernel's documentation asks for."""

_GRAPHICS = ("amdgpu", "i915", "nouveau", "radeon", "xe")
"""Names of sensors that measure something else than CPUs and boards."""


def temperatures(files: SystemFiles) -> dict[str, float]:
    """Return what each readable sensor says, in degrees Celsius; of one name the hottest."""
    found = []
    for folder in files.folders("sys/class/thermal", "thermal_zone*"):
        name = files.text(f"{folder}/type") or folder.rpartition("/")[2]
        found.append((name, files.number(f"{folder}/temp")))
    for folder in files.folders("sys/class/hwmon", "hwmon*"):
        name = files.text(f"{folder}/name") or folder.rpartition("/")[2]
        inputs = files.folders(folder, "temp*_input")
        found += [(f"{name} {path.rpartition('/')[2]}", files.number(path)) for path in inputs]
    known: dict[str, float] = {}
    for name, value in found:
        if value is None or abs(value) < _SMALLEST_MILLIDEGREE:
            continue
        if _COLDEST <= value / 1000 <= _HOTTEST:
            known[name] = max(value / 1000, known.get(name, _COLDEST))
    return known


def slowest_mhz(files: SystemFiles, cpus: tuple[int, ...]) -> int | None:
    """Return the clock that the slowest of the CPUs has now."""
    folder = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    found = [files.number(folder.format(cpu)) for cpu in cpus]
    known = [khz // 1000 for khz in found if khz is not None and khz > 0]
    return min(known, default=None)


@dataclass(frozen=True)
class Meter:
    """Where power is read: a counter of energy, or momentary watts that are averaged.

    `factor` makes joules or watts of the product of the numbers in `paths`; a counter starts again
    from 0 at `wraps`, if that is known.
    """

    source: str
    paths: tuple[str, ...]
    factor: float
    counts: bool
    wraps: float | None = None

    def read(self, files: SystemFiles) -> float | None:
        """Return joules of a counter, else watts."""
        product = self.factor
        for path in self.paths:
            value = files.number(path)
            if value is None or (self.counts and value < 0):
                return None
            product *= abs(value)
        return product


def find_meter(files: SystemFiles) -> tuple[Meter | None, list[str]]:
    """Return the best source of power that can be read, and notes on those that cannot."""
    notes = []
    meters = _meters(files)
    for supply in files.folders("sys/class/power_supply", "*"):
        status = files.text(f"{supply}/status")
        if files.text(f"{supply}/type") == "Battery":
            label = f"battery {supply.rpartition('/')[2]}"
            if status == "Discharging":
                paths = (f"{supply}/current_now", f"{supply}/voltage_now")
                meters.append(Meter(label, paths, 1e-12, False))
            else:
                notes.append(f"{label} says {status}: its current is not what the device takes")
    for meter in meters:
        if meter.read(files) is not None:
            return meter, notes
        notes.append(f"{meter.source} is there but cannot be read: no energy from it")
    if not notes:
        notes.append("the system exposes no energy: none is measured")
    return None, notes


def _meters(files: SystemFiles) -> list[Meter]:
    found = []
    for zone in files.folders("sys/class/powercap", "*:*"):
        name = zone.rpartition("/")[2]
        if name.count(":") == 1 and files.exists(f"{zone}/energy_uj"):
            most = files.number(f"{zone}/max_energy_range_uj")
            label = f"powercap {name} ({files.text(f'{zone}/name') or 'unnamed'})"
            wraps = None if most is None or most <= 0 else most * 1e-6
            found.append(Meter(label, (f"{zone}/energy_uj",), 1e-6, True, wraps))
    for folder in files.folders("sys/class/hwmon", "hwmon*"):
        name = files.text(f"{folder}/name") or folder.rpartition("/")[2]
        if name in _GRAPHICS:
            continue
        for pattern, counts in (("energy*_input", True), ("power*_input", False)):
            for path in files.folders(folder, pattern):
                label = f"hwmon {name} {path.rpartition('/')[2]}"
                found.append(Meter(label, (path,), 1e-6, counts))
    return found


@dataclass
class Reading:
    """Power over a while: `take` at its begin and end, and in between as often as one likes."""

    meter: Meter
    files: SystemFiles
    _values: list[tuple[float, float]] = field(default_factory=list)

    def take(self) -> None:
        """Read the meter once."""
        value = self.meter.read(self.files)
        if value is not None:
            self._values.append((time.perf_counter(), value))

    def watts(self) -> float | None:
        """Return the mean, or None if the meter did not say enough."""
        if len(self._values) < 2:
            return None
        (start, first), (end, last) = self._values[0], self._values[-1]
        if not self.meter.counts:
            mean = sum(value for _, value in self._values) / len(self._values)
            return mean if _LEAST_WATTS < mean < _MOST_WATTS else None
        if last < first and self.meter.wraps is not None:
            last += self.meter.wraps
        mean = (last - first) / max(end - start, 1e-9)
        return mean if _LEAST_WATTS < mean < _MOST_WATTS else None

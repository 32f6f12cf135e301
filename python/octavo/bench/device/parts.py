# SPDX-License-Identifier: Apache-2.0
"""Names of ARM cores, by their numbers in MIDR_EL1 and ``/proc/cpuinfo``."""

from __future__ import annotations

import re

from octavo.bench.device.files import SystemFiles

_NAMES = {
    0x41: {
        0xD01: "cortex-a32",
        0xD02: "cortex-a34",
        0xD03: "cortex-a53",
        0xD04: "cortex-a35",
        0xD05: "cortex-a55",
        0xD06: "cortex-a65",
        0xD07: "cortex-a57",
        0xD08: "cortex-a72",
        0xD09: "cortex-a73",
        0xD0A: "cortex-a75",
        0xD0B: "cortex-a76",
        0xD0C: "neoverse-n1",
        0xD0D: "cortex-a77",
        0xD0E: "cortex-a76ae",
        0xD40: "neoverse-v1",
        0xD41: "cortex-a78",
        0xD42: "cortex-a78ae",
        0xD44: "cortex-x1",
        0xD46: "cortex-a510",
        0xD47: "cortex-a710",
        0xD48: "cortex-x2",
        0xD49: "neoverse-n2",
        0xD4A: "neoverse-e1",
        0xD4B: "cortex-a78c",
        0xD4C: "cortex-x1c",
        0xD4D: "cortex-a715",
        0xD4E: "cortex-x3",
        0xD4F: "neoverse-v2",
        0xD80: "cortex-a520",
        0xD81: "cortex-a720",
        0xD82: "cortex-x4",
        0xD84: "neoverse-v3",
        0xD85: "cortex-x925",
        0xD87: "cortex-a725",
        0xD8E: "neoverse-n3",
    },
    0x51: {
        0x001: "oryon",
        0x800: "kryo-2xx-gold",
        0x801: "kryo-2xx-silver",
        0x802: "kryo-3xx-gold",
        0x803: "kryo-3xx-silver",
        0x804: "kryo-4xx-gold",
        0x805: "kryo-4xx-silver",
    },
    0x61: {
        0x022: "m1-icestorm",
        0x023: "m1-firestorm",
        0x032: "m2-blizzard",
        0x033: "m2-avalanche",
    },
    0xC0: {0xAC3: "ampere-1"},
}


def core_parts(files: SystemFiles) -> dict[int, str]:
    """Return the name of each ARM core that the system tells; nothing on other machines."""
    found = _listed(files.text("proc/cpuinfo") or "")
    for folder in files.folders("sys/devices/system/cpu", "cpu[0-9]*"):
        midr = files.number(f"{folder}/regs/identification/midr_el1")
        if midr is not None and midr > 0:
            number = int(re.sub(r"\D", "", folder.rpartition("/")[2]))
            found[number] = part_name(midr >> 24 & 0xFF, midr >> 4 & 0xFFF)
    return found


def part_name(implementer: int, part: int) -> str:
    """Return a core's name, or its numbers where it has none here.

    Examples
    --------
    >>> part_name(0x41, 0xD0B), part_name(0x48, 0xD01)
    ('cortex-a76', 'arm-48-d01')
    """
    return _NAMES.get(implementer, {}).get(part) or f"arm-{implementer:02x}-{part:03x}"


def known_name(name: str) -> str:
    """Return the name of a core that a file calls by its numbers; other names as they are.

    Examples
    --------
    >>> known_name("arm-41-d0b"), known_name("arm-41-fff"), known_name("performance")
    ('cortex-a76', 'arm-41-fff', 'performance')
    """
    match = re.fullmatch(r"arm-([0-9a-f]{2})-([0-9a-f]{3})", name)
    return name if match is None else part_name(int(match[1], 16), int(match[2], 16))


def _listed(text: str) -> dict[int, str]:
    """Read /proc/cpuinfo: of each processor the implementer and the part."""
    found: dict[int, str] = {}
    number: int | None = None
    implementer: int | None = None
    for line in text.splitlines():
        key, _, value = (piece.strip() for piece in line.partition(":"))
        if key == "processor":
            number, implementer = _integer(value), None
        elif key == "CPU implementer":
            implementer = _integer(value)
        elif key == "CPU part" and number is not None and implementer is not None:
            part = _integer(value)
            if part is not None:
                found[number] = part_name(implementer, part)
    return found


def _integer(text: str) -> int | None:
    if re.fullmatch(r"0x[0-9a-fA-F]{1,4}|[0-9]{1,5}", text) is None:
        return None
    return int(text, 0) if text.startswith("0x") else int(text, 10)

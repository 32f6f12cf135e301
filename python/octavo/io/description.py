# SPDX-License-Identifier: Apache-2.0
"""The compressed-tensors description of a quantized checkpoint, as it is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from octavo.io.scheme import OWN_PARTS, Scheme, format_of


def describe(layers: Iterable[tuple[str, str, Scheme]], ignore: Iterable[str]) -> dict[str, Any]:
    """Build the ``quantization_config`` for layers, each (name, kind, scheme).

    `ignore` are the names of layers of the same kinds that are kept in float.
    """
    groups: dict[tuple[str, Scheme], list[str]] = {}
    for name, kind, scheme in layers:
        groups.setdefault((kind, scheme), []).append(name)
    kinds = [kind for kind, _ in groups]
    config_groups = {}
    for index, (kind, scheme) in enumerate(sorted(groups, key=repr)):
        # One scheme for a kind: the class says it all. Several: name the layers.
        targets = [kind] if kinds.count(kind) == 1 else sorted(groups[kind, scheme])
        config_groups[f"group_{index}"] = {
            "targets": targets,
            # Named for each group: readers would guess another layout for weights alone.
            "format": scheme.format,
            "weights": _weight_arguments(scheme),
            "input_activations": _activation_arguments(scheme),
            "output_activations": None,
        }
    # A reader that takes no notice of a group's format must not overlook what it does not know.
    own = {part for part in OWN_PARTS if any(getattr(scheme, part) for _, scheme in groups)}
    return {
        "quant_method": "compressed-tensors",
        "format": _whole_format(own, {scheme.format for _, scheme in groups}),
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": sorted(ignore),
        "kv_cache_scheme": None,
    }


def _whole_format(own: set[str], formats: set[str]) -> str:
    if own or len(formats) == 1:
        return format_of(own) if own else formats.pop()
    return "mixed-precision"


def _weight_arguments(scheme: Scheme) -> dict[str, Any]:
    strategy = "channel" if scheme.group is None else "group"
    found = _arguments(not scheme.zeros, dynamic=False, strategy=strategy, group=scheme.group)
    order = {"actorder": "group"} if scheme.ordered else {}
    return {**found, "num_bits": scheme.bits, **order}


def _activation_arguments(scheme: Scheme) -> dict[str, Any] | None:
    if not scheme.has_activations:
        return None
    if scheme.group is not None:
        return _arguments(symmetric=True, dynamic=True, strategy="group", group=scheme.group)
    strategy = "tensor" if scheme.static else "token"
    return _arguments(scheme.symmetric, dynamic=not scheme.static, strategy=strategy)


def _arguments(
    symmetric: bool, dynamic: bool, strategy: str, group: int | None = None
) -> dict[str, Any]:
    return {
        "num_bits": 8,
        "type": "int",
        "symmetric": symmetric,
        "dynamic": dynamic,
        "strategy": strategy,
        "group_size": group,
    }

# SPDX-License-Identifier: Apache-2.0
"""The compressed-tensors description of a quantized checkpoint, as it is read.

What int8 activations need: format ``int-quantized``, symmetric int8 weights with a scale per
channel (or per tensor), and activations that are dynamic per token, static per tensor or float;
``pack-quantized``, weights of 2 to 8 bits with a scale per group, channel or tensor, and
activations that are dynamic or float: layers quantize them as they come, in the weight's groups.
Besides, groups of layers in octavo's own formats, whose names say what a reader has to know:
``octavo-bitmap`` (weights as `octavo.io.bitmap` draws them), ``octavo-codebook`` (as
`octavo.io.codebook` does), ``octavo-groups`` (as `octavo.nn.weights.GroupedWeight` has them),
``octavo-multiplier`` (an input multiplier), ``octavo-outliers`` (columns in float), and their
combinations, as ``octavo-bitmap-multiplier``. And a ``sparsity_config`` of the retired
``sparse-bitmask``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

from octavo._patterns import pattern_of
from octavo._scales import GROUPS
from octavo._text import shown
from octavo.io.grouped_codes import kind_of
from octavo.io.scheme import OWN_PARTS, PACK_QUANTIZED, Scheme, expect

_OWN = {
    "-".join(("octavo", *parts)): parts
    for count in range(1, len(OWN_PARTS) + 1)
    for parts in combinations(OWN_PARTS, count)
}
_FORMATS = ("int-quantized", "naive-quantized", PACK_QUANTIZED, "mixed-precision")
_PATTERN = "re:"
_SPARSITY = ("dense", "sparse-bitmask")
# What each object of a description may have: what is read, and what only tells how the file was
# made. Any other key may change what the numbers mean.
_KEYS = {
    "whole": {
        *("quant_method", "format", "config_groups", "ignore", "kv_cache_scheme"),
        *("transform_config", "sparsity_config", "moe_sparsity_config"),
        *("quantization_status", "global_compression_ratio", "version", "run_compressed", "octavo"),
    },
    "sparsity": {
        *("format", "targets", "ignore", "global_sparsity", "sparsity_structure"),
        "registry_requires_subclass",
    },
    "group": {"targets", "format", "weights", "input_activations", "output_activations"},
    "numbers": {
        *("num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic"),
        *("actorder", "scale_dtype", "zp_dtype", "observer", "observer_kwargs"),
    },
}
_BOTH = (True, False)
# An order that was only followed while rounding leaves no trace; others permute the columns.
_TRACELESS = (None, False, "weight", "static")
_ORDERS = (*_TRACELESS, True, "group", "dynamic")
_PRESET_W8A8: dict[str, Any] = {
    "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
    "input_activations": {
        "num_bits": 8,
        "type": "int",
        "symmetric": True,
        "strategy": "token",
        "dynamic": True,
    },
}


class QuantizationConfig:
    """The ``quantization_config`` of a config.json.

    Parameters
    ----------
    config : dict

    Raises
    ------
    ValueError
        If it asks for anything that is not read here; the message names the field.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        expect("quant_method", config.get("quant_method"), ("compressed-tensors",))
        _expect_format("format", config.get("format"))
        _expect_keys("quantization_config", config, "whole")
        for key in ("kv_cache_scheme", "transform_config", "moe_sparsity_config"):
            if config.get(key):
                raise ValueError(f"quantization_config: {key} is not supported")
        sparsity = sparsity_format(config)
        groups = config.get("config_groups")
        if not isinstance(groups, dict) or not groups:
            raise ValueError("quantization_config: config_groups must be a non-empty object")
        format = config["format"]
        self._groups = [_read_group(name, group, format) for name, group in groups.items()]
        self._ignore = _strings("ignore", config.get("ignore") or [])
        schemes = [scheme for _, scheme in self._groups]
        own = {scheme.format for scheme in schemes} & set(_OWN)
        self.unusual = sparsity if sparsity != "dense" else next(iter(sorted(own)), None)
        """The format that others than this package do not read, if one occurs."""

    def scheme(self, names: Iterable[str], kind: str) -> Scheme | None:
        """Return how a layer is quantized, or None if it is kept in float.

        Parameters
        ----------
        names : iterable of str
            The names the layer goes by (with and without the checkpoint's prefix).
        kind : str
            The layer's class in the framework that wrote the file ("Linear", "Embedding").
        """
        names = tuple(names)
        if any(_matches(target, names, kind) for target in self._ignore):
            return None
        for targets, scheme in self._groups:
            if any(_matches(target, names, kind) for target in targets):
                return scheme
        return None


def sparsity_format(config: dict[str, Any]) -> str:
    """Return the format of what is stored without its zeros, "dense" if nothing is."""
    sparsity = config.get("sparsity_config") or {}
    _expect_keys("quantization_config: sparsity_config", sparsity, "sparsity")
    found: str = sparsity.get("format", "dense")
    expect("sparsity_config.format", found, _SPARSITY)
    return found


def _matches(target: str, names: tuple[str, ...], kind: str) -> bool:
    if target.startswith(_PATTERN):
        pattern = pattern_of(target.removeprefix(_PATTERN))
        return any(pattern.match(name) for name in names)
    return target == kind or target in names


def _get(table: Any, key: str, default: Any = None) -> Any:
    return table.get(key, default) if isinstance(table, dict) else default


def _strings(field: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"quantization_config: {field} must be a list of strings")
    for item in value:
        if item.startswith(_PATTERN):
            try:
                pattern_of(item.removeprefix(_PATTERN))
            except ValueError as error:
                raise ValueError(f"quantization_config: {field}: {error}") from None
    return value


def _expect_format(field: str, value: Any) -> None:
    if not isinstance(value, str) or value not in _OWN:
        expect(field, value, _FORMATS)


def _expect_keys(where: str, table: Any, kind: str) -> None:
    """Refuse what is no object, and keys that one of this kind does not have."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be an object")
    for key in table:
        if key not in _KEYS[kind]:
            raise ValueError(f"{where}: {shown(key)} is not known")


def _read_group(name: str, group: Any, whole_format: str) -> tuple[list[str], Scheme]:
    field = f"config_groups.{name}"
    if isinstance(group, list):
        expect("config_groups preset", name.upper(), ("W8A8",))
        return _strings(field, group), _read_scheme(field, _PRESET_W8A8)
    _expect_keys(f"quantization_config: {field}", group, "group")
    if group.get("format") is not None:
        _expect_format(f"{field}.format", group["format"])
    format = group.get("format") or whole_format
    own: dict[str, Any] = dict.fromkeys(_OWN.get(format, ()), True)
    if group.get("output_activations") is not None:
        raise ValueError(f"quantization_config: {field}.output_activations is not supported")
    scheme = (_read_packed_scheme if _is_packed(format, group) else _read_scheme)(field, group)
    if "groups" in own:
        scheme = scheme._replace(packing=None)
    scheme = scheme._replace(**own)
    return _strings(f"{field}.targets", group.get("targets")), scheme


def _is_packed(format: str, group: dict[str, Any]) -> bool:
    """Whether codes lie in words, or in groups, where the name of the format does not tell."""
    weights = group.get("weights")
    in_groups = _get(weights, "num_bits") != 8 or _get(weights, "strategy") == "group"
    return format == PACK_QUANTIZED or (format in ("mixed-precision", *_OWN) and in_groups)


def _read_scheme(field: str, group: dict[str, Any]) -> Scheme:
    weights, inputs = group.get("weights"), group.get("input_activations")
    _expect_plain(f"{field}.weights", {} if weights is None else weights)
    _expect_plain(f"{field}.input_activations", {} if inputs is None else inputs)
    expect(f"{field}.weights.num_bits", _get(weights, "num_bits"), (8,))
    expect(f"{field}.weights.symmetric", _get(weights, "symmetric", True), (True,))
    expect(f"{field}.weights.dynamic", _get(weights, "dynamic", False), (False,))
    expect(f"{field}.weights.strategy", _get(weights, "strategy"), ("channel", "tensor"))
    expect(f"{field}.weights.group_size", _get(weights, "group_size"), (None, -1))
    if inputs is None:
        return Scheme(has_activations=False)
    field += ".input_activations"
    expect(f"{field}.num_bits", _get(inputs, "num_bits"), (8,))
    expect(f"{field}.group_size", _get(inputs, "group_size"), (None, -1))
    expect(f"{field}.symmetric", _get(inputs, "symmetric", True), (True, False))
    expect(f"{field}.dynamic", _get(inputs, "dynamic", False), (True, False))
    static = not inputs.get("dynamic", False)
    strategy = _get(inputs, "strategy") or ("tensor" if static else "token")
    expect(f"{field}.strategy", strategy, ("tensor",) if static else ("token",))
    return Scheme(symmetric=inputs.get("symmetric", True), static=static)


def _read_packed_scheme(field: str, group: dict[str, Any]) -> Scheme:
    """Read a scheme of packed codes; activations may be any that come quantized by themselves."""
    weights, inputs = group.get("weights"), group.get("input_activations")
    _expect_plain(f"{field}.weights", {} if weights is None else weights, _ORDERS)
    _expect_plain(f"{field}.input_activations", {} if inputs is None else inputs)
    bits, size = _get(weights, "num_bits"), _get(weights, "group_size")
    expect(f"{field}.weights.num_bits", bits, tuple(range(2, 9)))
    expect(f"{field}.weights.symmetric", _get(weights, "symmetric", True), (True, False))
    expect(f"{field}.weights.dynamic", _get(weights, "dynamic", False), (False,))
    strategy = _get(weights, "strategy")
    expect(f"{field}.weights.strategy", strategy, ("group", "channel", "tensor"))
    if strategy != "group":
        expect(f"{field}.weights.group_size", size, (None, -1))
        size = None
    elif type(size) is not int or size <= 0 or size % GROUPS[0]:
        raise ValueError(
            f"quantization_config: {field}.weights.group_size is {shown(size)}, supported:"
            " multiples of 32"
        )
    if inputs is not None:
        expect(f"{field}.input_activations.num_bits", _get(inputs, "num_bits"), (8,))
        expect(f"{field}.input_activations.dynamic", _get(inputs, "dynamic"), (True,))
        strategies = ("token", "group", None)
        expect(f"{field}.input_activations.strategy", _get(inputs, "strategy"), strategies)
        expect(f"{field}.input_activations.symmetric", _get(inputs, "symmetric", True), _BOTH)
    whole_rows = bits == 8 and size is None
    return Scheme(
        symmetric=whole_rows and bool(_get(inputs, "symmetric", inputs is not None)),
        has_activations=inputs is not None,
        kind="int8" if whole_rows else kind_of(bits),
        group=size,
        packing=PACK_QUANTIZED,
        bits=bits,
        zeros=not _get(weights, "symmetric", True),
        ordered=_get(weights, "actorder") not in _TRACELESS,
    )


def _expect_plain(field: str, numbers: Any, orders: tuple[Any, ...] = _TRACELESS) -> None:
    """Refuse numbers that are laid out in another way than all that is read here."""
    _expect_keys(f"quantization_config: {field}", numbers, "numbers")
    expect(f"{field}.type", _get(numbers, "type", "int"), ("int",))
    expect(f"{field}.block_structure", _get(numbers, "block_structure"), (None,))
    expect(f"{field}.actorder", _get(numbers, "actorder"), orders)

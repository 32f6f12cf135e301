# SPDX-License-Identifier: Apache-2.0
"""The compressed-tensors description of a quantized checkpoint, as it is read.

What int8 activations need: format ``int-quantized``, symmetric int8 weights with a scale per
channel (or per tensor), and activations that are dynamic per token or static per tensor;
``pack-quantized``, symmetric 4-bit weights with a scale per group, activations in the same groups.
Besides, groups of layers in octavo's own formats, whose names say what a reader has to know:
``octavo-bitmap`` (weights as `octavo.io.bitmap` draws them), ``octavo-codebook`` (as
`octavo.io.codebook` does), ``octavo-multiplier`` (an input multiplier), ``octavo-outliers``
(columns in float), ``octavo-groups`` (groups of more than symmetric 4 bits), and their
combinations, as ``octavo-bitmap-multiplier``. And a ``sparsity_config`` of ``sparse-bitmask``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

from octavo._patterns import pattern_of
from octavo._text import shown

OWN_PARTS = ("bitmap", "codebook", "multiplier", "outliers", "groups")
"""What octavo's own formats are made of, in the order of their names."""
_OWN = {
    "-".join(("octavo", *parts)): parts
    for count in range(1, len(OWN_PARTS) + 1)
    for parts in combinations(OWN_PARTS, count)
}
GROUP_KINDS = {4: "int4", 5: "int5", 8: "int8-group"}  # by bits
_FORMATS = ("int-quantized", "naive-quantized", "pack-quantized", "mixed-precision", *_OWN)
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
_CODES8 = {"num_bits": 8, "type": "int", "symmetric": True}
_PRESET_W8A8: dict[str, Any] = {
    "weights": {**_CODES8, "strategy": "channel"},
    "input_activations": {**_CODES8, "strategy": "token", "dynamic": True},
}


class Scheme(NamedTuple):
    """How one layer is quantized.

    Attributes
    ----------
    symmetric : bool
        Whether activations are.
    static : bool
        Whether the activations' scale is stored rather than found per token.
    has_activations : bool
        Whether the layer's input is quantized at all (an embedding's is not).
    bitmap : bool
        Whether the weight is stored as a bitmap and its non-zero codes.
    codebook : bool
        Whether it is stored as a codebook and indices.
    multiplier : bool
        Whether the input is multiplied, column by column, before it is quantized.
    outliers : bool
        Whether some columns are computed in float.
    kind : str
        The weight's, as `octavo.nn.weights` calls it: "int8", "int4", "int5", "int8-group".
    group : int, optional
        How many inputs share a scale; None: all of a row.
    groups : bool
        Whether a weight in groups is more than symmetric 4 bits.
    """

    symmetric: bool = False
    static: bool = False
    has_activations: bool = True
    bitmap: bool = False
    codebook: bool = False
    multiplier: bool = False
    outliers: bool = False
    kind: str = "int8"
    group: int | None = None
    groups: bool = False

    @property
    def format(self) -> str:
        """The name of the format: octavo's own if others could not read it."""
        own = {part for part in OWN_PARTS if getattr(self, part)}
        return format_of(own) if own or self.kind == "int8" else "pack-quantized"


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
        _expect("quant_method", config.get("quant_method"), ("compressed-tensors",))
        _expect("format", config.get("format"), _FORMATS)
        _expect_keys("quantization_config", config, "whole")
        for key in ("kv_cache_scheme", "transform_config", "moe_sparsity_config"):
            if config.get(key):
                raise ValueError(f"quantization_config: {key} is not supported")
        sparsity = _sparsity_format(config)
        groups = config.get("config_groups")
        if not isinstance(groups, dict) or not groups:
            raise ValueError("quantization_config: config_groups must be a non-empty object")
        self._groups = [_read_group(name, group) for name, group in groups.items()]
        self._ignore = _strings("ignore", config.get("ignore") or [])
        schemes = [scheme for _, scheme in self._groups]
        if config["format"] == "pack-quantized" and any(one.kind == "int8" for one in schemes):
            raise ValueError("quantization_config: 'pack-quantized' is supported with 4 bits alone")
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


def read_description(raw: dict[str, Any]) -> QuantizationConfig | None:
    """Read how a checkpoint is quantized from its whole config.json; None if it is float.

    Until 0.5 compressed-tensors wrote ``compression_config``, the part on quantization nested.
    """
    keys = ("quantization_config", "compression_config")
    key = next((key for key in keys if raw.get(key) is not None), None)
    if key is None:
        return None
    described = raw[key]
    if not isinstance(described, dict):
        raise ValueError(f"config.json: {key} must be an object")
    if key == "compression_config" and "quantization_config" in described:
        nested = described["quantization_config"] or {}
        described = {**nested, "sparsity_config": described.get("sparsity_config")}
    only_sparse = set(described) <= {"quant_method", "version", "sparsity_config"}
    if only_sparse and "sparsity_config" in described:
        _expect("quant_method", described.get("quant_method"), ("compressed-tensors", None))
        _sparsity_format(described)
        return None
    try:
        return QuantizationConfig(described)
    except ValueError as error:
        raise ValueError(
            f"{error}; of compressed-tensors, W8A8 is read and 4-bit weights with activations in"
            " groups; for other checkpoints name the folder of the float model instead"
        ) from None


def _sparsity_format(config: dict[str, Any]) -> str:
    sparsity = config.get("sparsity_config") or {}
    _expect_keys("quantization_config: sparsity_config", sparsity, "sparsity")
    found: str = sparsity.get("format", "dense")
    _expect("sparsity_config.format", found, _SPARSITY)
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


def _expect(field: str, value: Any, allowed: tuple[Any, ...]) -> None:
    # `True == 1` in Python, but a JSON `1` is no boolean: compare the types too.
    if not any(type(value) is type(item) and value == item for item in allowed):
        wanted = " or ".join(map(repr, allowed))
        raise ValueError(f"quantization_config: {field} is {shown(value)}, supported: {wanted}")


def _expect_keys(where: str, table: Any, kind: str) -> None:
    """Refuse what is no object, and keys that one of this kind does not have."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be an object")
    for key in table:
        if key not in _KEYS[kind]:
            raise ValueError(f"{where}: {shown(key)} is not known")


def _read_group(name: str, group: Any) -> tuple[list[str], Scheme]:
    field = f"config_groups.{name}"
    if isinstance(group, list):
        _expect("config_groups preset", name.upper(), ("W8A8",))
        return _strings(field, group), _read_scheme(field, _PRESET_W8A8)
    _expect_keys(f"quantization_config: {field}", group, "group")
    if group.get("format") is not None:
        _expect(f"{field}.format", group["format"], _FORMATS)
    own: dict[str, Any] = dict.fromkeys(_OWN.get(str(group.get("format")), ()), True)
    scheme = _read_scheme(field, group, own)._replace(**own)
    return _strings(f"{field}.targets", group.get("targets")), scheme


def _read_scheme(field: str, group: dict[str, Any], own: Iterable[str] = ()) -> Scheme:
    weights, inputs = group.get("weights"), group.get("input_activations")
    if group.get("output_activations") is not None:
        raise ValueError(f"quantization_config: {field}.output_activations is not supported")
    _expect_plain(f"{field}.weights", {} if weights is None else weights)
    _expect_plain(f"{field}.input_activations", {} if inputs is None else inputs)
    in_groups, bits = GROUP_KINDS if "groups" in own else {4: "int4"}, _get(weights, "num_bits")
    _expect(f"{field}.weights.num_bits", bits, (8, *in_groups))
    _expect(f"{field}.weights.symmetric", _get(weights, "symmetric", True), (True,))
    _expect(f"{field}.weights.dynamic", _get(weights, "dynamic", False), (False,))
    if bits in in_groups:
        return _read_scheme_in_groups(field, in_groups[bits], weights, inputs)
    _expect(f"{field}.weights.strategy", _get(weights, "strategy"), ("channel", "tensor"))
    _expect(f"{field}.weights.group_size", _get(weights, "group_size"), (None, -1))
    if inputs is None:
        return Scheme(has_activations=False)
    field += ".input_activations"
    _expect(f"{field}.num_bits", _get(inputs, "num_bits"), (8,))
    _expect(f"{field}.group_size", _get(inputs, "group_size"), (None, -1))
    _expect(f"{field}.symmetric", _get(inputs, "symmetric", True), (True, False))
    _expect(f"{field}.dynamic", _get(inputs, "dynamic", False), (True, False))
    static = not inputs.get("dynamic", False)
    strategy = _get(inputs, "strategy") or ("tensor" if static else "token")
    _expect(f"{field}.strategy", strategy, ("tensor",) if static else ("token",))
    return Scheme(symmetric=inputs.get("symmetric", True), static=static)


def _expect_plain(field: str, numbers: Any) -> None:
    """Refuse numbers that are laid out in another way than all that is read here."""
    _expect_keys(f"quantization_config: {field}", numbers, "numbers")
    _expect(f"{field}.type", _get(numbers, "type", "int"), ("int",))
    _expect(f"{field}.block_structure", _get(numbers, "block_structure"), (None,))
    # "group" permutes the columns; an order that was only followed while rounding leaves no trace.
    _expect(f"{field}.actorder", _get(numbers, "actorder"), (None, False, "weight", "static"))


def _read_scheme_in_groups(field: str, kind: str, weights: Any, inputs: Any) -> Scheme:
    """Read a scheme of weights in groups: the input comes in the same groups."""
    size = _get(weights, "group_size")
    _expect(f"{field}.weights.strategy", _get(weights, "strategy"), ("group",))
    _expect(f"{field}.weights.group_size", size, (32, 64, 128))
    if inputs is None:
        return Scheme(has_activations=False, kind=kind, group=size)
    wanted = {"num_bits": 8, "symmetric": True, "dynamic": True, "strategy": "group"}
    for key, value in {**wanted, "group_size": size}.items():
        _expect(f"{field}.input_activations.{key}", _get(inputs, key), (value,))
    return Scheme(kind=kind, group=size)


def format_of(own: set[str]) -> str:
    """Return the name of a format with these of `OWN_PARTS`."""
    parts = [part for part in OWN_PARTS if part in own]
    return "-".join(("octavo", *parts)) if parts else "int-quantized"

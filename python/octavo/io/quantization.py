# SPDX-License-Identifier: Apache-2.0
"""What a config.json says of how its checkpoint is quantized, by whatever library."""

from __future__ import annotations

from typing import Any

from octavo.io.compressed_tensors import QuantizationConfig, sparsity_format
from octavo.io.gptq import METHODS, WordsConfig
from octavo.io.scheme import expect

Quantization = QuantizationConfig | WordsConfig
"""How layers are quantized: what `read_quantization` makes of a ``quantization_config``."""

READ = "compressed-tensors with W8A8 and packed weights, gptq, awq"
"""What `read_quantization` takes, for messages."""


def read_quantization(described: dict[str, Any]) -> Quantization:
    """Read a ``quantization_config``.

    Raises
    ------
    ValueError
        If it asks for anything that is not read here; the message names the field.
    """
    kind = WordsConfig if described.get("quant_method") in METHODS else QuantizationConfig
    return kind(described)


def read_description(raw: dict[str, Any]) -> Quantization | None:
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
        expect("quant_method", described.get("quant_method"), ("compressed-tensors", None))
        sparsity_format(described)
        return None
    try:
        return read_quantization(described)
    except ValueError as error:
        raise ValueError(
            f"{error}; what is read is {READ}; for other checkpoints name the folder of the float"
            " model instead"
        ) from None

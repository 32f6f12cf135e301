# SPDX-License-Identifier: Apache-2.0
"""What a model needs to know from a Hugging Face config.json, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from octavo._text import shown
from octavo.models import fields
from octavo.models.modernbert_config import ModernBertChoices, read_choices

HEADS = ("classifier.", "head.", "pre_classifier.", "qa_outputs.")
"""Beginnings of the names of a head's tensors, which stand beside the encoder's."""
SEQUENCE = "SequenceClassification"
OUTPUT_OF_TASK = {
    SEQUENCE: "classifier",
    "TokenClassification": "classifier",
    "QuestionAnswering": "qa_outputs",
}
"""What heads are for, as transformers calls it, and the layer that gives the logits."""
OUTPUT_LAYERS = ("classifier", "classifier.out_proj", "qa_outputs")

# Our field -> the name in config.json.
_MPNET = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "position_rows": "max_position_embeddings",
    "activation": "hidden_act",
}
_BERT = {**_MPNET, "token_types": "type_vocab_size"}
_DISTILBERT = {
    "hidden_size": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "vocab_size": "vocab_size",
    "position_rows": "max_position_embeddings",
    "activation": "activation",
}
_MODERNBERT = {**_MPNET, "activation": "hidden_activation"}
_PADDING = 1
"""Of a model type whose positions count tokens, if its config.json names none."""


class _ModelType(NamedTuple):
    """How a model type spells its config.json, and what its checkpoints put before names."""

    fields: dict[str, str]
    prefix: str
    epsilon: float = 1e-12  # of layer norms, if the config.json does not say
    epsilon_key: str | None = "layer_norm_eps"
    counts_tokens: bool = False


_ROBERTA = _ModelType(_BERT, "roberta", counts_tokens=True)
_TYPES = {
    "bert": _ModelType(_BERT, "bert"),
    "camembert": _ROBERTA,
    "distilbert": _ModelType(_DISTILBERT, "distilbert", epsilon_key=None),
    "electra": _ModelType({**_BERT, "embedding_size": "embedding_size"}, "electra"),
    "modernbert": _ModelType(_MODERNBERT, "model", epsilon=1e-5, epsilon_key="norm_eps"),
    "mpnet": _ModelType(_MPNET, "mpnet", counts_tokens=True),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
_UNSUPPORTED = {
    "is_decoder": "a decoder",
    "add_cross_attention": "cross-attention",
    "is_encoder_decoder": "an encoder-decoder",
    "pruned_heads": "attention with some heads cut out",
}


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and choices of a BERT-family encoder.

    Attributes
    ----------
    model_type : str
        "bert", "camembert", "distilbert", "electra", "modernbert", "mpnet", "roberta" or
        "xlm-roberta".
    prefix : str
        What checkpoints with a head put before the names of the encoder's tensors, and a dot.
    embedding_size : int
        Of the vectors of tokens and positions.
    position_rows : int
        Vectors in the table of positions, or how many positions there are without one.
    padding : int or None
        If positions count tokens: the id that is none. Its position is itself, the first token's
        the next.
    activation : str
        Activation between the two feed-forward layers, by the name octavo's layers know.
    token_types : int
        Number of token types; 0 if the model has none.
    task : str
        What the head is for: "SequenceClassification", "TokenClassification" or
        "QuestionAnswering"; "" for an encoder without one.
    labels : int
        Logits that the head gives; 0 without one.
    raw : dict
        The whole config.json, kept so that saving loses nothing.
    modernbert : ModernBertChoices or None
        What a ModernBERT chooses besides.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    prefix: str
    embedding_size: int
    position_rows: int
    padding: int | None
    token_types: int
    activation: str
    layer_norm_epsilon: float
    task: str
    labels: int
    raw: dict[str, Any]
    modernbert: ModernBertChoices | None = None

    @property
    def positions(self) -> int:
        """How many tokens a row may have."""
        return self.position_rows - (0 if self.padding is None else self.padding + 1)


def read_config(raw: dict[str, Any], others: Sequence[str] = ()) -> EncoderConfig:
    """Check the JSON object of a config.json.

    Parameters
    ----------
    raw : dict
        The parsed file.
    others : sequence of str
        Model types that are read elsewhere, for the message about an unknown one.

    Returns
    -------
    EncoderConfig

    Raises
    ------
    ValueError
        For an unknown architecture, or a missing or impossible field; the message names it.

    Examples
    --------
    >>> from octavo.models.config import read_config
    >>> config = read_config({
    ...     "model_type": "distilbert", "vocab_size": 100, "dim": 32, "hidden_dim": 64,
    ...     "n_layers": 2, "n_heads": 4, "max_position_embeddings": 16, "activation": "gelu"})
    >>> config.hidden_size, config.layers
    (32, 2)
    """
    model_type = raw.get("model_type", _implied_type(raw))
    if not isinstance(model_type, str) or model_type not in _TYPES:
        known = ", ".join(sorted([*_TYPES, *others]))
        raise ValueError(f"config.json: unknown model_type {shown(model_type)}; supported: {known}")
    for key, what in _UNSUPPORTED.items():
        if raw.get(key):
            raise ValueError(f"config.json: {key} is set; {what} is not supported")
    position_type = raw.get("position_embedding_type", "absolute")
    if position_type not in (None, "absolute"):
        raise ValueError(
            f"config.json: position_embedding_type is {shown(position_type)}, supported: 'absolute'"
        )
    spelling = _TYPES[model_type]
    names = spelling.fields
    sizes = {field: fields.size(raw, key) for field, key in names.items() if field != "activation"}
    if sizes["hidden_size"] % sizes["heads"]:
        raise ValueError(
            f"config.json: {names['hidden_size']} {sizes['hidden_size']} is no multiple of "
            f"{names['heads']} {sizes['heads']}"
        )
    epsilon = spelling.epsilon
    if spelling.epsilon_key is not None:
        epsilon = fields.number(raw, spelling.epsilon_key, epsilon, 0, 1)
    task = _task(raw)
    return EncoderConfig(
        model_type=model_type,
        activation=fields.activation(raw, names["activation"]),
        layer_norm_epsilon=epsilon,
        prefix=spelling.prefix,
        token_types=sizes.pop("token_types", 0),
        embedding_size=sizes.pop("embedding_size", sizes["hidden_size"]),
        padding=_padding(raw, sizes["position_rows"]) if spelling.counts_tokens else None,
        task=task,
        labels=_labels(raw) if task else 0,
        raw=raw,
        modernbert=_modernbert(raw, sizes) if model_type == "modernbert" else None,
        **sizes,
    )


def _modernbert(raw: dict[str, Any], sizes: dict[str, int]) -> ModernBertChoices:
    width = sizes["hidden_size"] // sizes["heads"]
    if width % 2:
        raise ValueError(
            f"config.json: hidden_size {sizes['hidden_size']} over num_attention_heads "
            f"{sizes['heads']} gives heads of {width}, expected an even size, to rotate pairs"
        )
    return read_choices(raw, sizes["layers"])


def _padding(raw: dict[str, Any], rows: int) -> int:
    value = _PADDING if raw.get("model_type") == "mpnet" else raw.get("pad_token_id", _PADDING)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < rows - 1:
        raise ValueError(
            f"config.json: pad_token_id is {shown(value)}, expected one in [0, {rows - 2}], below "
            "max_position_embeddings"
        )
    return value


def _implied_type(raw: dict[str, Any]) -> str | None:
    """Return "bert" for a config of 2019, TinyBERT's say, which does not tell its type.

    Those of RoBERTa have one token type, those of ALBERT and ELECTRA an embedding_size.
    """
    named = _architecture(raw) or "BertModel"
    is_bert = raw.keys() >= set(_BERT.values()) and "embedding_size" not in raw
    if not is_bert or raw["type_vocab_size"] == 1 or not named.startswith(("Bert", "TinyBert")):
        return None
    return "bert"


def _architecture(raw: dict[str, Any]) -> str:
    architectures = raw.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    return first if isinstance(first, str) else ""


def _task(raw: dict[str, Any]) -> str:
    named = _architecture(raw)
    return next((task for task in OUTPUT_OF_TASK if named.endswith(f"For{task}")), "")


def _labels(raw: dict[str, Any]) -> int:
    # Two labels are the default, which is not written.
    names = raw.get("id2label")
    if isinstance(names, dict) and names:
        return len(names)
    return fields.size(raw, "num_labels") if raw.get("num_labels") is not None else 2

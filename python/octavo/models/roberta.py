# SPDX-License-Identifier: Apache-2.0
"""RoBERTa, and the models that are it with another vocabulary."""

from __future__ import annotations

from octavo.models.bert import BertModel


class RobertaModel(BertModel):
    """RoBERTa: BERT whose positions count tokens, from the one after the padding's id."""

    architecture = "RobertaModel"
    head_activation = "tanh"


class XLMRobertaModel(RobertaModel):
    """XLM-RoBERTa."""

    architecture = "XLMRobertaModel"


class CamembertModel(RobertaModel):
    """CamemBERT."""

    architecture = "CamembertModel"

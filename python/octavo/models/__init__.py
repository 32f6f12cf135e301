# SPDX-License-Identifier: Apache-2.0
"""Models as plain Python over octavo's layers.

Examples
--------
>>> import octavo
>>> octavo.models.load.__name__
'load'
"""

from __future__ import annotations

from octavo.models.answers import Label, Ranked
from octavo.models.bert import BertModel
from octavo.models.cache import Cache
from octavo.models.chat import render_chat
from octavo.models.config import EncoderConfig
from octavo.models.continuation import Generated
from octavo.models.decoder import Decoder
from octavo.models.decoder_config import DecoderConfig
from octavo.models.distilbert import DistilBertModel
from octavo.models.electra import ElectraModel
from octavo.models.embedder import Embedder
from octavo.models.encoder import Encoder
from octavo.models.gguf_weights import Rounded
from octavo.models.loader import load
from octavo.models.modernbert import ModernBertModel
from octavo.models.mpnet import MPNetModel
from octavo.models.roberta import CamembertModel, RobertaModel, XLMRobertaModel

__all__ = [
    "BertModel",
    "Cache",
    "CamembertModel",
    "Decoder",
    "DecoderConfig",
    "DistilBertModel",
    "ElectraModel",
    "Embedder",
    "Encoder",
    "EncoderConfig",
    "Generated",
    "Label",
    "MPNetModel",
    "ModernBertModel",
    "Ranked",
    "RobertaModel",
    "Rounded",
    "XLMRobertaModel",
    "load",
    "render_chat",
]

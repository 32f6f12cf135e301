# SPDX-License-Identifier: Apache-2.0
"""Models as plain Python over octavo's layers.

Examples
--------
>>> import octavo
>>> octavo.models.load.__name__
'load'
"""

from __future__ import annotations

from octavo.models.bert import BertModel
from octavo.models.config import EncoderConfig
from octavo.models.distilbert import DistilBertModel
from octavo.models.encoder import Encoder
from octavo.models.loader import load

__all__ = ["BertModel", "DistilBertModel", "Encoder", "EncoderConfig", "load"]

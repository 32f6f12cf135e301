# SPDX-License-Identifier: Apache-2.0
"""Data that models are run on, from wherever it comes: files, sentences, arrays, streams.

`octavo.compress` and `octavo.evaluation.evaluate` read their data here; `Dataset` is for items that
a function has to turn into inputs first.
"""

from __future__ import annotations

from octavo.data.sources import Dataset

__all__ = ["Dataset"]

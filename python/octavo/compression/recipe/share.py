# SPDX-License-Identifier: Apache-2.0
"""The part of a recipe that lets weights share values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from octavo import _checks
from octavo.compression.recipe import _fields


@dataclass(frozen=True)
class Share:
    """How many values the weights of a layer may have (Han et al. 2016).

    Parameters
    ----------
    clusters : int
        Values of a linear layer's weights relative to their row's scale, 4 to 256.
    embedding_clusters : int
        The same for embeddings.
    exclude : tuple of str
        Names of layers whose weights do not share; ``*`` stands for anything.

    Examples
    --------
    >>> from octavo.compression import Share
    >>> Share(32).to_dict()
    {'clusters': 32, 'embedding_clusters': 16}
    """

    clusters: int = 16
    embedding_clusters: int = 16
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("clusters", "embedding_clusters"):
            _checks.integer(getattr(self, key), f"recipe: share.{key}", 4, 256)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a recipe's dict has them."""
        sizes = {"clusters": self.clusters, "embedding_clusters": self.embedding_clusters}
        return {**sizes, **_fields.set_fields(self)}


def read_share(fields: object) -> Share:
    """Return what the fields of a dict or a file say."""
    read = _fields.known(fields, Share, "share.")
    if "exclude" in read:
        read["exclude"] = _fields.names(read["exclude"], "recipe: share.exclude")
    return Share(**read)

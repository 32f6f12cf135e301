# SPDX-License-Identifier: Apache-2.0
"""How to quantize: frozen dataclasses, and the names they go by in files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from octavo import _checks
from octavo.nn.weights import GROUPS

IF_SLOWER = ("keep", "measure", "quantize")
SPARSE = ("auto", "never", "always")


@dataclass(frozen=True)
class Int8Dynamic:
    """Int8 weights with a scale per output channel; activations quantized row by row as they come.

    Parameters
    ----------
    symmetric : bool
        Quantize activations symmetrically.  The default, each row's own range, is as fast and
        about twice as exact.
    embeddings : bool
        Also quantize `torch.nn.Embedding`.
    if_slower : "keep", "measure" or "quantize"
        What becomes of layers that int8 would slow down: ``"keep"`` leaves layers of
        fewer than 32768 weights (about 180 x 180) or 16 outputs in float, and convolutions with
        fewer than 32 channels in each of several groups; ``"measure"`` times every shape on this
        machine and leaves the slower ones in float, ``"quantize"`` quantizes them all.
    rows : tuple of int
        The numbers of rows (batch times tokens; of a convolution, about as many windows) that
        ``"measure"`` tries; a layer is left in float
        if int8 is slower on their geometric mean.
    sparse : "auto", "never" or "always"
        Which linear layers become a `SparseLinear`: ``"auto"`` those with so many zeros (pruned
        ones) that one of its formats is faster than the dense layer for every number of rows, not
        only for `rows`, and not larger; ``"never"`` none; ``"always"`` all, so that the state dict
        of a pruned model can be loaded afterwards, upon which each layer chooses its format anew
        (a layer tied to a table stays dense). Results have the same bits.

    Examples
    --------
    >>> from octavo.torch import Int8Dynamic
    >>> Int8Dynamic(if_slower="measure").rows
    (1, 128)
    """

    symmetric: bool = False
    embeddings: bool = True
    if_slower: str = "keep"
    rows: tuple[int, ...] = (1, 128)
    sparse: str = "auto"

    def __post_init__(self) -> None:
        _checks.boolean(self.symmetric, "symmetric")
        _checks.choice(self.sparse, "sparse", SPARSE)
        _check_choice(self)


@dataclass(frozen=True)
class Int4Dynamic:
    """4-bit weights with a scale for each group of inputs; activations in the same groups.

    Activations are quantized row by row as they come, symmetrically, to int8. Tables, and layers
    whose weight is that of a table, are int8.

    Parameters
    ----------
    group : 32, 64 or 128
        How many neighbouring inputs share a scale: fewer are more exact, more are faster.
    embeddings, if_slower, rows
        As in `Int8Dynamic`.

    Examples
    --------
    >>> from octavo.torch import Int4Dynamic
    >>> Int4Dynamic(group=128)
    Int4Dynamic(group=128, embeddings=True, if_slower='keep', rows=(1, 128))
    """

    group: int = 32
    embeddings: bool = True
    if_slower: str = "keep"
    rows: tuple[int, ...] = (1, 128)

    def __post_init__(self) -> None:
        if _checks.integer(self.group, "group", 1) not in GROUPS:
            raise ValueError(f"group: expected 32, 64 or 128, got {self.group}")
        _check_choice(self)


Dynamic = Int8Dynamic | Int4Dynamic
"""How layers become what runs in integers at once."""


def _check_choice(config: Dynamic) -> None:
    """Check what says which layers are converted."""
    _checks.boolean(config.embeddings, "embeddings")
    _checks.choice(config.if_slower, "if_slower", IF_SLOWER)
    if not isinstance(config.rows, tuple) or not config.rows:
        raise TypeError(f"rows: expected a tuple of row counts, got {config.rows!r}")
    for count in config.rows:
        _checks.integer(count, "rows", 1)


@dataclass(frozen=True)
class Int8Training(Int8Dynamic):
    """How layers train for int8; see `prepare_qat_`.

    Parameters
    ----------
    symmetric : bool
        Quantize activations symmetrically.
    embeddings : bool
        Also train `torch.nn.Embedding` for int8. Off by default: a row that the training data does
        not use gains nothing, and `quantize_` can follow.
    if_slower, rows, sparse
        As in `Int8Dynamic`.
    activations : "dynamic" or "static"
        Each row quantized over its own range, or all rows with one scale, which is found from the
        first batches and then learns.
    warmup : int
        Of how many batches in training mode a static scale covers the range.
    bits : int
        From 2 to 8. Weights use the codes from ``-(2**(bits - 1) - 1)`` to the same above 0; they
        are stored as int8 all the same.

    Examples
    --------
    >>> from octavo.torch import Int8Training
    >>> Int8Training(activations="static").warmup
    16
    """

    embeddings: bool = False
    activations: str = "dynamic"
    warmup: int = 16
    bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.choice(self.activations, "activations", ("dynamic", "static"))
        _checks.integer(self.warmup, "warmup", 1)
        _checks.integer(self.bits, "bits", 2, 8)

    @property
    def largest_code(self) -> int:
        """The largest code of a weight: 127 for 8 bits."""
        return int(2 ** (self.bits - 1) - 1)


@dataclass(frozen=True)
class AdaRound(Int8Dynamic):
    """How rounding is learned from data; see `adaround_`.

    Parameters
    ----------
    symmetric, embeddings, if_slower, rows, sparse
        As in `Int8Dynamic`; embeddings and convolutions are rounded to nearest.
    bits : int
        From 2 to 8. Weights use the codes from ``-(2**(bits - 1) - 1)`` to the same above 0; they
        are stored as int8 all the same.
    steps : int
        Of gradient descent, for each layer.
    rate : float
        Its learning rate.
    damping : float
        Share of the inputs' mean square that is added to each input's own, so that little data
        does not decide alone.
    correct_bias : bool
        Whether a bias makes up for the mean error of its layer.

    Examples
    --------
    >>> from octavo.torch import AdaRound
    >>> AdaRound(bits=4).largest_code
    7
    """

    bits: int = 8
    steps: int = 200
    rate: float = 0.1
    damping: float = 0.05
    correct_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer(self.bits, "bits", 2, 8)
        _checks.integer(self.steps, "steps", 1)
        _checks.real(self.rate, "rate", "(0, inf)")
        _checks.real(self.damping, "damping", "[0, inf)")
        _checks.boolean(self.correct_bias, "correct_bias")

    @property
    def largest_code(self) -> int:
        """The largest code of a weight: 127 for 8 bits."""
        return int(2 ** (self.bits - 1) - 1)


CONFIGS: dict[str, type[Dynamic]] = {"int8_dynamic": Int8Dynamic, "int4_dynamic": Int4Dynamic}
"""The configs by name."""


def config_of(config: Any) -> Dynamic:
    """Return `config` as an instance: None is the default, a name its default instance."""
    if config is None:
        return Int8Dynamic()
    if isinstance(config, str):
        _checks.choice(config, "config", tuple(CONFIGS))
        return CONFIGS[config]()
    if not isinstance(config, Dynamic) or isinstance(config, (Int8Training, AdaRound)):
        known = " or ".join(kind.__name__ for kind in CONFIGS.values())
        raise TypeError(f"config: expected an instance of {known}, got {config!r}")
    return config

# SPDX-License-Identifier: Apache-2.0
"""Powers, logarithms, sines and cosines of float64 by +, -, * and / alone.

Those of C libraries and of NumPy differ between machines in their last bits, and with them would
all that is computed from a table of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._types import Float64

# ln(2) in two parts, pi / 2 in three: all but the last are so short that a whole number up to 2**20
# times one of them is exact.
_LN2 = (0.6931471806019545, -4.2009150726810846e-11)
_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
_SQRT_HALF = 0.7071067811865476
# Highest power first. Each ends where the next term is below 2**-57 on the range it is used on:
# atanh(s) / s in s**2 for |s| < 0.172, e**r for |r| < 0.347, cosine and sin(r) / r in r**2 for
# |r| < 0.786.
_ATANH = [1 / (2 * i + 1) for i in reversed(range(12))]
_EXP = [1 / math.factorial(i) for i in reversed(range(15))]
_COS = [(-1) ** i / math.factorial(2 * i) for i in reversed(range(10))]
_SIN = [(-1) ** i / math.factorial(2 * i + 1) for i in reversed(range(9))]


def _polynomial(x: Float64, coefficients: Sequence[float]) -> Float64:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total


def _minus_multiple(x: Float64, whole: Float64, parts: Sequence[float]) -> Float64:
    for part in parts:
        x = x - whole * part
    return x


@in_default_mode
def log(x: Float64) -> Float64:
    """Return the natural logarithm of finite positive values, to about 2**-51 of it."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < _SQRT_HALF
    mantissa = np.where(low, 2 * mantissa, mantissa)
    exponent = exponent - low
    s = (mantissa - 1) / (mantissa + 1)
    return 2 * s * _polynomial(s * s, _ATANH) + exponent * _LN2[1] + exponent * _LN2[0]


@in_default_mode
def exp(x: Float64) -> Float64:
    """Return ``e ** x`` to about 2**-51 of it, for ``|x| < 700``."""
    whole = np.rint(x / (_LN2[0] + _LN2[1]))
    rest = _minus_multiple(x, whole, _LN2)
    return np.ldexp(_polynomial(rest, _EXP), whole.astype(np.int32))


def power(base: float, exponents: Float64) -> Float64:
    """Return ``base ** exponents`` for a positive base; the error is that of a rounded exponent.

    Relative, it is below ``(2 + |ln(result)|) * 2**-51``.
    """
    return exp(exponents * log(np.array(base)))


@in_default_mode
def sin_cos(x: Float64) -> tuple[Float64, Float64]:
    """Return the sine and the cosine of `x`, to 2**-52, for ``|x| < 2**20``."""
    turns = np.rint(x * (2 / math.pi))
    rest = _minus_multiple(x, turns, _HALF_PI)
    square = rest * rest
    sine, cosine = rest * _polynomial(square, _SIN), _polynomial(square, _COS)
    quarter = turns.astype(np.int64) % 4
    odd = quarter % 2 == 1
    return (
        np.where(odd, cosine, sine) * np.where(quarter < 2, 1.0, -1.0),
        np.where(odd, sine, cosine) * np.where((quarter == 0) | (quarter == 3), 1.0, -1.0),
    )

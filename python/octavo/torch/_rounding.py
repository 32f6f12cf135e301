# SPDX-License-Identifier: Apache-2.0
"""Which weights of one layer to round up and which down, so that its outputs stay what they were.

With x the inputs of the float layer, z what the int8 layer makes of its own inputs, and both as
rows of samples, the mean squared error of rounded weights Q against weights W is, row by row,

    (Q - W) H (Q - W)' + 2 (Q - W) (W (H - M))' + constant,     H = z' z / n,  M = x' z / n.

So two matrices of size (K, K) stand for any amount of data, and the gradient is exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from octavo.torch.config import AdaRound

# Nagel et al.: the sigmoid is stretched, so that 0 and 1 are reached.
_STRETCH, _BELOW = 1.2, 0.1
_FIRST_BETA, _LAST_BETA = 20.0, 2.0
_UNPUSHED = 0.2  # share of the steps before anything pushes towards 0 and 1
_PUSH = 1.0
_CONSTANT = 1e-12  # of an input's mean square: a smaller variance is what rounding leaves of none


class Moments(NamedTuple):
    """What a layer's inputs amount to.

    Attributes
    ----------
    gram : float32 tensor, shape (K, K)
        H; around the means if the layer has a bias, which makes up for them.
    drift : float32 tensor, shape (K, K)
        H - M.
    mean_float, mean_int8 : float32 tensors, shape (K,)
        Of x and z.
    """

    gram: Tensor
    drift: Tensor
    mean_float: Tensor
    mean_int8: Tensor


class InputMoments:
    """Sums over the K inputs of one layer, in memory that does not grow with the data."""

    def __init__(self, features: int) -> None:
        self._count = 0
        self._gram = torch.zeros(features, features, dtype=torch.float64)
        self._cross = torch.zeros(features, features, dtype=torch.float64)
        self._sums = torch.zeros(2, features, dtype=torch.float64)

    def update(self, floats: Tensor, int8s: Tensor) -> None:
        """Add rows (rows, K): what the float layer reads, and what the int8 layer makes of its."""
        x, z = floats.double(), int8s.double()
        self._count += len(x)
        self._gram += z.T @ z
        self._cross += x.T @ z
        self._sums += torch.stack((x.sum(dim=0), z.sum(dim=0)))

    def finish(self, centred: bool) -> Moments:
        """Return the moments of what was added; `gram` is zero for inputs that never varied."""
        if not self._count:
            raise ValueError("the data never reached it")
        means = self._sums / self._count
        gram, cross = self._gram / self._count, self._cross / self._count
        if not torch.isfinite(gram).all() or not torch.isfinite(cross).all():
            raise ValueError("the data leads to inputs that are NaN or infinite")
        if centred:
            squares = gram.diagonal().clone()
            gram -= torch.outer(means[1], means[1])
            cross -= torch.outer(means[0], means[1])
            constant = gram.diagonal() <= _CONSTANT * squares
            gram[constant] = 0
            gram[:, constant] = cross[:, constant] = 0
        return Moments(gram.float(), (gram - cross).float(), means[0].float(), means[1].float())


def learn_rounding(weight: Tensor, scale: Tensor, moments: Moments, config: AdaRound) -> Tensor:
    """Return codes (N, K) as floats, each the exact value, over scales (N, 1), rounded down or up.

    The gradient descent of AdaRound, over all data at once: Nagel et al., Up or Down? Adaptive
    Rounding for Post-Training Quantization, arXiv 2004.10568. Rows that it does not improve are
    rounded to nearest; so are exact values that are integers, among them the zeros of pruning.
    """
    largest_code = config.largest_code
    exact = (weight / scale).clamp_(-largest_code, largest_code)
    nearest = exact.round()
    low = exact.floor().clamp_(max=largest_code - 1)
    unit = moments.gram.diagonal().mean().clamp(min=1e-30)
    gram = moments.gram / unit
    gram.diagonal().add_(config.damping)
    # What is wrong before any rounding, in steps of the codes.
    wrong = (weight @ moments.drift) / (scale * unit)
    free = (exact - nearest) != 0
    up = _descend(exact - low, gram, wrong, free, config.steps, config.rate)
    learned = torch.where(free, low + up, nearest)
    better = _loss(learned - exact, gram, wrong) < _loss(nearest - exact, gram, wrong)
    return torch.where(better, learned, nearest)


def _loss(difference: Tensor, gram: Tensor, wrong: Tensor) -> Tensor:
    """Return the error of each row, (N, 1), but for a constant."""
    return ((difference @ gram + 2 * wrong) * difference).sum(dim=1, keepdim=True)


def _descend(
    rest: Tensor, gram: Tensor, wrong: Tensor, free: Tensor, steps: int, rate: float
) -> Tensor:
    """Return 1 where to round up, from what rounding down leaves over, and 0 elsewhere."""
    v = -torch.log(_STRETCH / (rest + _BELOW) - 1)
    first, second = torch.zeros_like(v), torch.zeros_like(v)
    for step in range(steps):
        p = torch.sigmoid(v)
        share = (_STRETCH * p).sub_(_BELOW)
        inside = (share > 0) & (share < 1) & free
        share.clamp_(0, 1)
        gradient = torch.addmm(wrong, share - rest, gram).mul_(2)
        at = (step / steps - _UNPUSHED) / (1 - _UNPUSHED)
        if at >= 0:
            half = (_FIRST_BETA - _LAST_BETA) / 2
            beta = _LAST_BETA + half * (1 + math.cos(math.pi * at))
            side = share.mul_(2).sub_(1)
            push = side.abs().pow_(beta - 1).mul_(side.sign()).mul_(-2 * beta * _PUSH)
            gradient.add_(push)
        gradient.mul_(p.mul_(1 - p)).mul_(_STRETCH).mul_(inside)
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        size = rate / (1 - 0.9 ** (step + 1))
        root = (second / (1 - 0.999 ** (step + 1))).sqrt_().add_(1e-8)
        v.addcdiv_(first, root, value=-size)
    return (v >= 0).float()

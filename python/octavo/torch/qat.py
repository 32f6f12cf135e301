# SPDX-License-Identifier: Apache-2.0
"""Layers that train for int8: they compute in float what their int8 form will compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from octavo.nn import LinearOptions
from octavo.torch._fake import (
    fake_rows,
    fake_tensor,
    fake_weight,
    tensor_grid,
    weight_codes,
    weight_scale,
)
from octavo.torch._pruned import weight_of
from octavo.torch.config import Int8Training

functional = torch.nn.functional


class _Prepared:
    """What both kinds share: the scales of a weight's rows.

    A scale is ``weight_scale * exp(weight_log_scale)``: the buffer is what rounding to nearest
    would take, the parameter starts at 0. So a step of the optimizer changes a scale by a share of
    it, a scale stays positive, weight decay pulls towards where it started, and before the first
    step the layer is exactly what `quantize_` would give.
    """

    # What `octavo.torch.quantize_` asks for; importing this class there would go in a circle.
    is_prepared = True

    weight_scale: Tensor
    weight_log_scale: nn.Parameter
    largest_code: int

    def _start_weight(self: Any, config: Int8Training) -> None:
        self.largest_code = config.largest_code
        scale = weight_scale(weight_of(self).detach().float().flatten(1), self.largest_code)
        self.register_buffer("weight_scale", scale)
        self.weight_log_scale = nn.Parameter(torch.zeros_like(scale))

    def current_scale(self) -> Tensor:
        """Return the scale of each row, (rows, 1) float32."""
        return self.weight_scale * self.weight_log_scale.exp()

    @torch.no_grad()
    def int8_weight(self: Any) -> tuple[Tensor, Tensor]:
        """Return the codes, of the weight's shape, and scales (rows,) float32 as they are now."""
        scale = self.current_scale()
        weight = weight_of(self)
        codes = weight_codes(weight.float().flatten(1), scale, self.largest_code)
        codes = codes.reshape(weight.shape)
        if not (torch.isfinite(codes).all() and torch.isfinite(scale).all()):
            raise ValueError("expected finite weights and scales, got NaN or infinity")
        return codes.to(torch.int8), scale[:, 0]


class QatLinear(_Prepared, nn.Linear):
    """A linear layer that trains for int8; made of a `torch.nn.Linear` by `prepare_qat_`.

    Weight and input pass through their int8 codes on the way forward. Gradients flow straight
    through the rounding to `weight`, and to the scales: ``weight_log_scale``, one row each, and
    ``input_log_scale`` if activations are static. A weight pruned with a mask stays pruned.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(256, 256))
    >>> _ = octavo.torch.prepare_qat_(model)
    >>> model[0]
    QatLinear(in_features=256, out_features=256, bias=True)
    >>> [name for name, _ in model[0].named_parameters()]
    ['weight', 'bias', 'weight_log_scale']
    """

    input_range: Tensor
    input_batches: Tensor
    input_log_scale: nn.Parameter

    def start(self, config: Int8Training) -> None:
        """Take up training; the weight's scales start where rounding to nearest puts them."""
        self._start_weight(config)
        self.symmetric, self.is_static = config.symmetric, config.activations == "static"
        self.sparse = config.sparse
        self._warmup, self._watched = config.warmup, 0
        if self.is_static:
            like = self.weight_scale
            self.register_buffer("input_range", like.new_zeros(2))
            self.register_buffer("input_batches", torch.zeros((), dtype=torch.int64))
            self.input_log_scale = nn.Parameter(like.new_zeros(()))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name torch.nn.Linear has)
        """Apply the layer: (..., in_features) to (..., out_features), the dtype of `input`."""
        with torch.autocast(input.device.type, enabled=False):
            x = self._fake_input(input.float())
            weight = fake_weight(self.weight.float(), self.current_scale(), self.largest_code)
            bias = None if self.bias is None else self.bias.float()
            return functional.linear(x, weight, bias).to(input.dtype)

    def _fake_input(self, x: Tensor) -> Tensor:
        if not self.is_static:
            return fake_rows(x, self.symmetric)
        if self.training and self._watched < self._warmup:
            self._watch(x.detach())
        elif self._watched == 0:
            raise ValueError(
                "QatLinear: expected a batch in training mode first, from which a static input"
                " scale is found, got none"
            )
        return fake_tensor(x, *self._input_grid())

    def _watch(self, x: Tensor) -> None:
        if not x.numel():
            return
        if not torch.isfinite(x).all():
            raise ValueError("input: expected finite values, got NaN or infinity")
        low, high = self.input_range[0], self.input_range[1]
        self.input_range.copy_(torch.stack((low.minimum(x.min()), high.maximum(x.max()))))
        self._watched += 1
        self.input_batches.fill_(self._watched)

    def _input_grid(self) -> tuple[Tensor, Tensor]:
        low, high = self.input_range[0], self.input_range[1]
        scale, zero_point = tensor_grid(low, high, self.symmetric)
        return scale * self.input_log_scale.exp(), zero_point

    @torch.no_grad()
    def input_options(self) -> LinearOptions:
        """Return how the int8 layer quantizes its input.

        Raises
        ------
        ValueError
            If no data ever reached a layer with static activations, or its scale is not finite.
        """
        if not self.is_static:
            return LinearOptions(symmetric=self.symmetric)
        if self._watched == 0:
            raise ValueError("no data ever reached this layer, so its input has no scale")
        scale, zero_point = self._input_grid()
        return LinearOptions(
            symmetric=self.symmetric,
            input_scale=float(scale),
            input_zero_point=int(zero_point),
        )

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        super()._load_from_state_dict(*arguments, **options)
        if self.is_static:
            self._watched = int(self.input_batches)


class QatConv2d(_Prepared, nn.Conv2d):
    """A convolution that trains for int8; made of a `torch.nn.Conv2d` by `prepare_qat_`.

    Each output channel has a scale, and each image is quantized over its own range. A batch norm
    behind it stays a layer of its own: it scales output channels, which have scales already, so
    that folding it would change no code.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3))
    >>> _ = octavo.torch.prepare_qat_(model)
    >>> model(torch.randn(1, 64, 8, 8)).shape
    torch.Size([1, 64, 6, 6])
    """

    def start(self, config: Int8Training) -> None:
        """Take up training; the weight's scales start where rounding to nearest puts them."""
        self._start_weight(config)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name torch.nn.Conv2d has)
        """Apply the layer: as `torch.nn.Conv2d`, the dtype of `input`."""
        with torch.autocast(input.device.type, enabled=False):
            images = input if input.ndim == 4 else input[None]
            x = fake_rows(images.float().flatten(1), False).reshape(input.shape)
            rows = self.weight.float().flatten(1)
            weight = fake_weight(rows, self.current_scale(), self.largest_code)
            bias = None if self.bias is None else self.bias.float()
            return self._conv_forward(x, weight.reshape(self.weight.shape), bias).to(input.dtype)


class QatEmbedding(_Prepared, nn.Embedding):
    """A table of vectors that trains for int8; made of a `torch.nn.Embedding` by `prepare_qat_`.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Embedding(100, 16))
    >>> _ = octavo.torch.prepare_qat_(model, octavo.torch.Int8Training(embeddings=True))
    >>> model[0](torch.tensor([[3, 5]])).shape
    torch.Size([1, 2, 16])
    """

    def start(self, config: Int8Training) -> None:
        """Take up training; the rows' scales start where rounding to nearest puts them."""
        self._start_weight(config)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name torch.nn.Embedding has)
        """Look up rows: ``(*input.shape, embedding_dim)``, the dtype of the weight."""
        rows = super().forward(input)
        scale = functional.embedding(input, self.current_scale())
        return fake_weight(rows.float(), scale, self.largest_code).to(rows.dtype)

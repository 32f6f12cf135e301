# SPDX-License-Identifier: Apache-2.0
"""What all convolutions share."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array
from octavo.nn import _state, images
from octavo.nn.images import ImageLayer, Operand, Steps, Windows


class Convolution(ImageLayer):
    """What convolutions share: the weight's shape, windows, groups and an activation."""

    depthwise: ClassVar[bool] = False
    """Whether each channel has weights of its own, (height, width, channels)."""

    def __init__(
        self,
        weight: Array,
        bias: ArrayLike | None,
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        activation: str = "none",
        output_scale: float | None = None,
        output_zero_point: int = 0,
    ) -> None:
        super().__init__(output_scale, output_zero_point)
        self.weight = weight
        _checks.check_shape(weight, (None,) * (3 if self.depthwise else 4), "weight")
        if 0 in weight.shape:
            raise ValueError(f"weight: expected at least one element, got shape {weight.shape}")
        self.bias: Array | None = None
        if bias is not None:
            self.bias = _state.parameter(bias, (self.out_channels,), "bias")
        self.groups = _checks.integer(groups, "groups", 1)
        if self.out_channels % self.groups or (self.depthwise and self.groups != 1):
            wanted = "1" if self.depthwise else f"a divisor of {self.out_channels} outputs"
            raise ValueError(f"groups: expected {wanted}, got {groups}")
        self.activation = _checks.choice(activation, "activation", images.FUSED)
        self._windows = Windows.of(self.kernel_size, stride, padding, dilation)

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return int(self.weight.shape[-1 if self.depthwise else 0])

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Height and width of a window."""
        height, width = self.weight.shape[:2] if self.depthwise else self.weight.shape[1:3]
        return height, width

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied."""
        bias = {} if self.bias is None else {"bias": self.bias}
        return {"weight": self.weight, **bias}

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors and not the default, for `from_state_dict`."""
        config = {**self._windows.config(), "groups": self.groups, "activation": self.activation}
        defaults = {"groups": 1, "activation": "none"}
        return {name: value for name, value in config.items() if value != defaults.get(name)}

    def __repr__(self) -> str:
        channels = [self.out_channels]
        if not self.depthwise:
            channels.insert(0, self.weight.shape[3] * self.groups)
        first = (*map(str, channels), f"kernel_size={self.kernel_size}")
        rest = (f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({', '.join((*first, *rest))})"

    def _convolution(
        self,
        name: str,
        x: Operand,
        parts: dict[str, Any],
        output: tuple[float | None, int] = (None, 0),
    ) -> Steps:
        """Return the step, once the shape of its input is known to fit."""
        geometry = self._windows.over(x)
        channels = x.shape[3]
        if self.depthwise:
            fits, wanted = self.out_channels % channels == 0, f"a divisor of {self.out_channels}"
        else:
            inputs = self.weight.shape[3] * self.groups
            fits, wanted = channels == inputs, str(inputs)
        if not fits:
            raise ValueError(f"x: expected {wanted} channels, got shape {x.shape}")
        groups = {"groups": self.groups} if self.groups != 1 else {}
        shape = (x.shape[0], *geometry["size"], self.out_channels)
        return Steps(shape, [(name, ("x",), {**groups, **parts, **geometry})], *output)

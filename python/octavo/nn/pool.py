# SPDX-License-Identifier: Apache-2.0
"""Pools: the largest value or the mean of windows of an image."""

from __future__ import annotations

from typing import Any

from octavo.nn.images import ImageLayer, Operand, Pair, Steps, Windows, image_shape, pair


class _Pool(ImageLayer):
    """What pools share: windows, which have the size of the image where there is no kernel."""

    def __init__(
        self, kernel_size: Any = None, stride: Any = None, padding: Any = 0, **output: Any
    ) -> None:
        super().__init__(**output)
        self.kernel_size = None if kernel_size is None else pair(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride")
        self.padding = padding
        self._windows(self.kernel_size or (1, 1))

    def _windows(self, kernel: Pair) -> Windows:
        return Windows.of(kernel, self.stride or kernel, self.padding)

    def _pool(self, name: str, x: Operand, scales: dict[str, Any]) -> Steps:
        kernel = self.kernel_size or image_shape(x)[1:3]
        geometry = self._windows(kernel).over(x)
        shape = (x.shape[0], *geometry["size"], x.shape[-1])
        if x.scale is None:
            return Steps(shape, [(f"{name}_f32", ("x",), {"kernel": kernel, **geometry})])
        call = (name, ("x",), {"kernel": kernel, **scales, **geometry})
        return Steps(shape, [call], *self._codes(x))

    def config(self) -> dict[str, Any]:
        """Return the options of the layer."""
        return {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}


class MaxPool2d(_Pool):
    """The largest value of each window of an image, channel by channel, as `torch.nn.MaxPool2d`.

    Parameters
    ----------
    kernel_size : int, or two for height and width; by default the whole image
    stride : int or two, by default the kernel's size
    padding : int or two; or "same" or "valid"
        Windows may reach so far beyond the image; only what lies inside counts.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.MaxPool2d(2)(np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)).ravel()
    array([3.], dtype=float32)
    """

    def _steps(self, *operands: Operand) -> Steps:
        return self._pool("max_pool", operands[0], {})


class AvgPool2d(_Pool):
    """The mean of each window of an image, channel by channel, of the values inside the image.

    So it is `torch.nn.AvgPool2d` with ``count_include_pad=False``, and TensorFlow's.

    Parameters
    ----------
    kernel_size, stride, padding
        As of `MaxPool2d`.
    output_scale, output_zero_point : float, int, optional
        Of codes; by default those of the input.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.AvgPool2d()(np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)).ravel()
    array([1.5], dtype=float32)
    """

    def _steps(self, *operands: Operand) -> Steps:
        x = operands[0]
        scales = {}
        if x.scale is not None:
            out_scale, out_zero = self._codes(x)
            scales = {"scale": x.scale, "zero_point": x.zero_point}
            scales |= {"out_scale": out_scale, "out_zero_point": out_zero}
        return self._pool("average_pool", x, scales)

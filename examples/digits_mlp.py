# SPDX-License-Identifier: Apache-2.0
"""A plain NumPy network made int8 in three lines: handwritten digits, no framework at run time.

scikit-learn is used once, to train an ``MLPClassifier`` on the digits it ships (no download).  What
is left afterwards are weights and biases; the float network below is NumPy alone, and the int8 one
is octavo alone.  Run it with ``python examples/digits_mlp.py``.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import octavo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = NDArray[Any]
Layers = list[tuple[Array, Array]]

HIDDEN = (256, 128)
HELD_OUT = 600


def train() -> tuple[Layers, Array, Array]:
    """Train on two thirds of the digits.

    Returns
    -------
    layers : list of (weight, bias), float32, shapes (inputs, outputs) and (outputs,)
    images : float32 array, shape (600, 64), pixels from 0 to 1: the third that was held out
    labels : integers, shape (600,)
    """
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16.0).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=HELD_OUT, random_state=0, stratify=labels
    )
    trained = MLPClassifier(HIDDEN, max_iter=400, random_state=0).fit(train_x, train_y)
    pairs = zip(trained.coefs_, trained.intercepts_, strict=True)
    layers = [(np.asarray(w, np.float32), np.asarray(b, np.float32)) for w, b in pairs]
    return layers, test_x, test_y


def float_network(layers: Layers, images: Array) -> Array:
    """Scores of each digit in NumPy float32, shape (rows, 10)."""
    x = images
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    return x @ layers[-1][0] + layers[-1][1]


def int8_network(layers: Layers) -> Callable[[Array], Array]:
    """Fold the same network into eight bits, in three lines."""
    hidden = [octavo.Linear.from_float(w.T, b, activation="relu") for w, b in layers[:-1]]
    output = octavo.Linear.from_float(layers[-1][0].T, layers[-1][1])
    return lambda images: output(functools.reduce(lambda x, layer: layer(x), hidden, images))


def fastest(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Shortest time of each function in seconds; they take turns, to share the machine's noise."""
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def run(rounds: int = 300) -> dict[str, Any]:
    """Train, fold, compare.

    Returns
    -------
    dict
        ``accuracy`` of float32 and int8 (fractions), ``agreement`` (the share of images to which
        both give the same digit), ``nbytes`` of the weights, ``seconds`` for 1 and for 600 rows.
    """
    layers, images, labels = train()
    network = int8_network(layers)
    scores = [float_network(layers, images), network(images)]
    digits = [each.argmax(axis=1) for each in scores]
    seconds = {}
    for rows in (images[:1], images):
        both = (functools.partial(float_network, layers, rows), functools.partial(network, rows))
        seconds[len(rows)] = fastest(both, rounds)
    return {
        "accuracy": [float((each == labels).mean()) for each in digits],
        "agreement": float((digits[0] == digits[1]).mean()),
        "nbytes": [sum(weight.nbytes for weight, _ in layers), sum(w.size for w, _ in layers)],
        "seconds": seconds,
    }


def main() -> None:
    """Print the comparison."""
    result = run()
    print(f"{'':16}{'NumPy float32':>15}{'octavo int8':>15}")
    print(f"{'accuracy':16}" + "".join(f"{value:>15.2%}" for value in result["accuracy"]))
    print(f"{'weights, bytes':16}" + "".join(f"{value:>15,}" for value in result["nbytes"]))
    for rows, seconds in result["seconds"].items():
        label = f"{rows} row" + ("s" if rows > 1 else "")
        print(f"{label:16}" + "".join(f"{value * 1e6:>12.1f} us" for value in seconds))
    print(
        f"same digit for {result['agreement']:.2%} of the images, tier {octavo.runtime.get_isa()}"
    )


if __name__ == "__main__":
    main()

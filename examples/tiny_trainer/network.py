"""The model: from the last twelve bytes, through one tanh layer, to a distribution over the next; the backward pass is written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.intp]
Weights = dict[str, Array]

# 256 bytes and four marks: nothing yet, the user speaks, the assistant speaks, end.
START, USER, ASSISTANT, END = 256, 257, 258, 259
VOCABULARY = 260
# Twelve bytes are four Chinese characters.
WINDOW = 12
EMBEDDING = 16
HIDDEN = 24
# Positions worked on at once, which bounds the memory of a step at about 16 MB whatever the batch size is.
PIECE = 4096


def fresh_weights(seed: int) -> Weights:
    """Weights before any training, the same for the same seed."""
    random = np.random.default_rng(seed)

    def normal(rows: int, columns: int, scale: float) -> Array:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    return {
        "embedding.weight": normal(VOCABULARY, EMBEDDING, 0.3),
        "hidden.weight": normal(WINDOW * EMBEDDING, HIDDEN, (WINDOW * EMBEDDING) ** -0.5),
        "hidden.bias": np.zeros(HIDDEN, np.float32),
        "output.weight": normal(HIDDEN, VOCABULARY, 0.01),
        "output.bias": np.zeros(VOCABULARY, np.float32),
    }


def loss_of(weights: Weights, windows: Indices, targets: Indices) -> float:
    """The mean cross-entropy, in nats per byte, of the targets that follow the windows."""
    total = sum(_forward(weights, windows[piece], targets[piece])[0] for piece in _pieces(len(targets)))
    return total / len(targets)


def loss_and_gradients(weights: Weights, windows: Indices, targets: Indices) -> tuple[float, Weights]:
    """The mean cross-entropy and its gradient by every weight."""
    total = 0.0
    gradients = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for piece in _pieces(len(targets)):
        loss, inputs, hidden, chances = _forward(weights, windows[piece], targets[piece])
        total += loss
        _backward(weights, gradients, windows[piece], targets[piece], inputs, hidden, chances)
    for name in gradients:
        gradients[name] /= len(targets)
    return total / len(targets), gradients


def _pieces(positions: int) -> list[slice]:
    return [slice(start, start + PIECE) for start in range(0, positions, PIECE)]


def _forward(weights: Weights, windows: Indices, targets: Indices) -> tuple[float, Array, Array, Array]:
    inputs = weights["embedding.weight"][windows].reshape(len(windows), -1)
    hidden = np.tanh(inputs @ weights["hidden.weight"] + weights["hidden.bias"])
    logits = hidden @ weights["output.weight"] + weights["output.bias"]
    logits -= logits.max(axis=1, keepdims=True)
    chances = np.exp(logits)
    sums = chances.sum(axis=1, keepdims=True)
    chances /= sums
    of_targets = logits[np.arange(len(targets)), targets] - np.log(sums[:, 0])
    return -float(of_targets.sum(dtype=np.float64)), inputs, hidden, chances


def _backward(
    weights: Weights, gradients: Weights, windows: Indices, targets: Indices, inputs: Array, hidden: Array, chances: Array
) -> None:
    by_logits = chances
    by_logits[np.arange(len(targets)), targets] -= 1
    gradients["output.weight"] += hidden.T @ by_logits
    gradients["output.bias"] += by_logits.sum(axis=0)
    by_sums = (by_logits @ weights["output.weight"].T) * (1 - hidden**2)
    gradients["hidden.weight"] += inputs.T @ by_sums
    gradients["hidden.bias"] += by_sums.sum(axis=0)
    by_inputs = (by_sums @ weights["hidden.weight"].T).reshape(-1, EMBEDDING)
    np.add.at(gradients["embedding.weight"], windows.reshape(-1), by_inputs)

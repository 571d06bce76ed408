"""A DINOv2 backbone out of an ONNX file: initialisers to the weights of transformers' ``Dinov2Model``.

An exporter keeps the names of biases and norms, but folds each linear layer's weight, transposed, into a constant that
is named by a number. Which layer such a constant belongs to is told by the MatMul node that reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclm.errors import MedclmError

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "backbone."
NORM_EPS = 1e-6
_RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
"""Parts of names that transformers 5 calls otherwise."""


def read_dinov2(path: Path, heads: int) -> Any:
    """The ``backbone`` of an ONNX model as a ``Dinov2Model`` in evaluation mode, float32.

    Args:
        path: of a model that torch.onnx wrote from a module whose attribute ``backbone`` is a Dinov2Model.
        heads: attention heads; the file does not say.

    Raises:
        MedclmError: onnx is not installed, or the file is no such model. Every weight must be found, each with its
            shape; only the mask token, which inference does not use, is zero.
    """
    import torch
    from transformers import Dinov2Config, Dinov2Model

    weights = _weights(path)
    patch, positions = (
        weights["embeddings.patch_embeddings.projection.weight"],
        weights["embeddings.position_embeddings"],
    )
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    side = round((positions.shape[1] - 1) ** 0.5) * patch.shape[2]
    config = Dinov2Config(
        hidden_size=patch.shape[0],
        num_hidden_layers=layers,
        num_attention_heads=heads,
        mlp_ratio=weights["encoder.layer.0.mlp.fc1.weight"].shape[0] // patch.shape[0],
        patch_size=patch.shape[2],
        image_size=side,
        layer_norm_eps=NORM_EPS,
    )
    model = Dinov2Model(config)
    weights["embeddings.mask_token"] = np.zeros((1, patch.shape[0]), np.float32)
    try:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=True)
    except RuntimeError as error:
        raise _wrong(path, "the weights of a Dinov2Model", str(error)[:300]) from error
    return model.eval()


def _weights(path: Path) -> dict[str, np.ndarray]:
    """The backbone's weights by the names of Dinov2Model, float32."""
    try:
        import onnx
    except ImportError as error:
        raise MedclmError(
            "the onnx package is missing", expected="onnx", remedy='pip install "medclm[base-model]"'
        ) from error
    graph = onnx.load(path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}

    def value(name: str) -> np.ndarray:
        return np.array(onnx.numpy_helper.to_array(tensors[name]), np.float32)

    found = {_renamed(name): value(name) for name in tensors if name.startswith(PREFIX)}
    for node in graph.node:
        constants = [name for name in node.input if name in tensors]
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and constants:
            layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            found[_renamed(f"{PREFIX}{layer}.weight")] = np.ascontiguousarray(value(constants[0]).T)
    found["embeddings.position_embeddings"] = _positions(path, graph, set(tensors), value)
    return found


def _positions(path: Path, graph: Any, tensors: set[str], value: Callable[[str], np.ndarray]) -> np.ndarray:
    """(1, 1 + patches, width): the class token's position, then the patches', which are resized to the picture."""
    unnamed = [
        name
        for node in graph.node
        if node.name.startswith("/backbone/embeddings/") and node.op_type in ("Concat", "Reshape")
        for name in node.input
        if name in tensors and not name.startswith(PREFIX)
    ]
    parts = sorted((value(name) for name in unnamed), key=lambda part: part.size)
    if len(parts) != 2 or any(part.ndim != 3 for part in parts):
        raise _wrong(path, "two constants of position embeddings", [part.shape for part in parts])
    return np.concatenate(parts, axis=1)


def _renamed(name: str) -> str:
    plain = name.removeprefix(PREFIX)
    for old, new in _RENAMED.items():
        plain = plain.replace(old, new)
    return plain


def _wrong(path: Path, expected: str, got: Any) -> MedclmError:
    return MedclmError("the ONNX file is not the model that was looked for", where=path, expected=expected, got=got)

"""How much GPU memory a training run needs, before anything is started: weights, gradients, optimizer, activations.

The terms follow what :mod:`medclm.train` does: float32 weights, gradients and AdamW moments, sharded by FSDP2 over all
workers; bfloat16 copies of the blocks at work; float32 logits. Logits are counted for every token, which is an upper
bound: the loss takes those of the target alone. Computed, not measured on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from medclm.config import TrainConfig
from medclm.errors import UsageError

GIB = 2**30
RUNTIME_BYTES = 2 * GIB
"""CUDA context, NCCL buffers, kernels and the allocator's rounding."""
ACTIVATION_BYTES = 34
"""Bytes a layer keeps of a token for each unit of width, 16 bit, fused attention (arXiv 2205.05198, equation 2)."""
RESHARD_ABOVE = 1_000_000_000
"""Parameters from which ``parallel.reshard=auto`` frees a block's weights (as :mod:`medclm.train.setup`)."""


@dataclass(frozen=True)
class Shape:
    """A base model in numbers: parameters in all and of one decoder block, decoder layers, width, vocabulary."""

    parameters: int
    block: int
    layers: int
    width: int
    vocabulary: int


SHAPES = {
    "Qwen/Qwen3-VL-2B-Instruct": Shape(2_127_532_032, 50_336_000, 28, 2048, 151_936),
    "Qwen/Qwen3-VL-8B-Instruct": Shape(8_767_123_696, 192_946_432, 36, 4096, 151_936),
    "Qwen/Qwen3-VL-32B-Instruct": Shape(33_357_390_064, 487_598_336, 64, 5120, 151_936),
    "llava-hf/vip-llava-7b-hf": Shape(7_080_214_528, 202_383_360, 32, 4096, 32_064),
}
"""Counted on the meta device from the models' published configurations."""


def gpu_bytes(config: TrainConfig, tokens: int = 1024) -> dict[str, float]:
    """Bytes that one GPU holds at the peak of a training step, by what they are for, and ``total``.

    Args:
        config: a run; ``model.base`` is one of :data:`SHAPES`.
        tokens: of an example, its picture's included.

    Raises:
        UsageError: the base model's shape is not known.
    """
    shape = SHAPES.get(config.model.base)
    if shape is None:
        raise UsageError("the shape of this base model is not known", got=config.model.base, expected=", ".join(SHAPES))
    held = -(-config.batch_size // (config.workers * config.accumulate)) * tokens
    share = 0.0 if config.parallel.cpu_offload else 1 / config.workers
    trained = trained_parameters(shape, config)
    root = 2 * shape.vocabulary * shape.width
    freed = {"auto": shape.parameters > RESHARD_ABOVE, "always": True, "never": False}[config.parallel.reshard]
    layer = ACTIVATION_BYTES * shape.width
    kept = 2 * shape.width * shape.layers + layer if config.parallel.checkpoint_activations else layer * shape.layers
    parts = {
        "weights": 4 * shape.parameters * share,
        "gradients": 4 * trained * share,
        "optimizer": 8 * trained * share,
        "gathered": 2 * (2 * shape.block + root if freed else shape.parameters),
        "activations": float(held * kept),
        "logits": float(held * shape.vocabulary * (2 + 4 + 4)),
        "runtime": float(RUNTIME_BYTES),
    }
    return {**parts, "total": sum(parts.values())}


def trained_parameters(shape: Shape, config: TrainConfig) -> int:
    """All of them, or LoRA's: rank x (in + out) of the seven projections of a block, about 21 widths together."""
    if not config.model.finetune.startswith("lora"):
        return shape.parameters
    return config.model.lora_rank * 21 * shape.width * shape.layers


def host_bytes(config: TrainConfig, workers_a_node: int = 8) -> float:
    """Host memory of a node whose workers load the base: a float32 copy each, and the shards with ``cpu_offload``."""
    shape, workers = SHAPES[config.model.base], min(workers_a_node, config.workers)
    loading = 4.0 * shape.parameters * workers
    trained = 4 * shape.parameters + 12 * trained_parameters(shape, config)
    return loading + (workers / config.workers) * trained if config.parallel.cpu_offload else loading


def step_flops(shape: Shape, config: TrainConfig, tokens: int = 1024) -> float:
    """Floating point operations of one optimizer step: 6 a parameter and token, 8 where activations are recomputed.

    LoRA saves the third that the frozen weights' own gradients cost.
    """
    factor = (4 if config.model.finetune.startswith("lora") else 6) + 2 * config.parallel.checkpoint_activations
    return float(factor * shape.parameters * tokens * config.batch_size)

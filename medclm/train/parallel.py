"""The model over the ranks of a run: FSDP2 per block then root, gradient clipping, sums over ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

SMALLEST_UNIT = 1_000_000
"""Parameters from which a block is a unit of its own. Below, its messages cost more than the memory that it frees."""


def shard(
    model: Any, blocks: tuple[str, ...], device: torch.device, mixed: bool = False, reshard: bool = False,
    offload: bool = False,
) -> Any:  # fmt: skip
    """``model`` with its parameters sharded over all ranks, in place (FSDP2, after arXiv 2304.11277).

    Args:
        model: ``requires_grad`` is final; the optimizer is made afterwards.
        blocks: class names of the modules that become a unit each where they have :data:`SMALLEST_UNIT` parameters;
            what is left is the root's.
        mixed: compute in bfloat16 (weights, gradients' sums and the optimizer stay float32).
        reshard: free a block's weights after its forward pass. False keeps them until the backward pass: faster where
            they fit.
        offload: keep weights, gradients and optimizer state in host memory.

    Returns:
        ``model``, on ``device``. It may come on the CPU: each unit is moved as it is cut, so that no device has to hold
        the whole of it. In full precision a run of one rank is only moved.
    """
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard

    if world_size() == 1 and not mixed and not offload:
        return model.to(device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if mixed else None
    options: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": reshard}
    if policy is not None:
        options["mp_policy"] = policy
    if offload:
        options["offload_policy"] = CPUOffloadPolicy(pin_memory=device.type == "cuda")
    for module in list(model.modules()):
        if type(module).__name__ in blocks and sum(p.numel() for p in module.parameters()) >= SMALLEST_UNIT:
            fully_shard(module, **options)
    return fully_shard(model, **options)


def world_size() -> int:
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_initialized() else 1


def sync_ranks(model: Any, last: bool, reshard: bool) -> None:
    """To be called before each micro-batch of a step: what its backward pass has to do with the other ranks.

    Gradients are added up over ranks by the ``last`` one. Weights change only then, so those that need not be freed
    between a forward and its backward pass (``reshard`` False) are not gathered again for the micro-batches between.
    """
    if hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(last)
        model.set_reshard_after_backward(last or reshard)


def gather(model: Any) -> None:
    """Gathers the weights: `generate` runs the vision tower outside the root's forward pass."""
    for module in model.modules():
        if hasattr(module, "unshard"):
            module.unshard()


def reshard(model: Any) -> None:
    """Frees the gathered weights, as a training step's backward pass does; for passes without one."""
    for module in model.modules():
        if hasattr(module, "reshard"):
            module.reshard()


def all_sum(values: torch.Tensor) -> torch.Tensor:
    """``values`` added up over the ranks, on the device that they came on."""
    import torch.distributed as dist

    if world_size() == 1:
        return values
    moved = values.cuda() if dist.get_backend() == "nccl" else values.clone()
    dist.all_reduce(moved)
    return moved.to(values.device)


def all_objects(value: T) -> list[T]:
    """``value`` of every rank, by rank. Small and plain: it travels pickled."""
    import torch.distributed as dist

    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value)
    return found


def clip_gradients(parameters: list[torch.nn.Parameter], limit: float) -> float:
    """Scales the gradients so that their norm over all ranks is at most ``limit``; returns the norm before.

    Each rank holds its shard of a gradient, so the squared norms of the shards add up.
    """
    import torch

    gradients = [_local(p.grad) for p in parameters if p.grad is not None]
    squares = torch.stack(torch._foreach_norm(gradients)).double().square().sum().reshape(1)
    norm = float(all_sum(squares).sqrt())
    if norm > limit:
        torch._foreach_mul_(gradients, limit / norm)
    return norm


def _local(tensor: Any) -> torch.Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor

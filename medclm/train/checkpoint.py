"""Checkpoints: torch.distributed.checkpoint, saved by all ranks, handed to Ray Train, resumed bit for bit.

One directory: the DCP shards of the trained weights (only the adapter where LoRA is used) and of the optimizer, and one
``rank-N.pt`` a rank with what is its own: step, data position, random state.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm.errors import MedclmError

if TYPE_CHECKING:
    from medclm.train.data import Position


def save(directory: str | Path, model: Any, optimizer: Any, step: int, position: Position) -> None:
    """Writes this rank's part. All ranks call it, each with a directory of its own or all with the same.

    Args:
        step: optimizer steps done.
        position: of this rank's data, after that step.
    """
    import random

    import torch
    import torch.distributed.checkpoint as dcp

    from medclm.train.parallel import world_size

    dcp.save(_state(model, optimizer), checkpoint_id=str(directory), no_dist=world_size() == 1)
    own = {
        "step": step,
        "position": (position.epoch, position.window, position.offset),
        "world": world_size(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
    }
    torch.save(own, Path(directory) / f"rank-{_rank()}.pt")


def load(directory: str | Path, model: Any, optimizer: Any) -> tuple[int, Position]:
    """Puts model, optimizer and random state back; returns (steps done, this rank's data position).

    With another number of ranks than it was saved by, weights and optimizer are resharded, and every rank begins the
    epoch after the saved one.
    """
    import random

    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    from medclm.train.data import Position
    from medclm.train.parallel import world_size

    state = _state(model, optimizer)
    dcp.load(state, checkpoint_id=str(directory), no_dist=world_size() == 1)
    options = StateDictOptions(strict=False)
    set_state_dict(
        model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=options
    )
    first = torch.load(Path(directory) / "rank-0.pt", weights_only=False)
    if first["world"] != world_size():
        return first["step"], Position(epoch=first["position"][0] + 1)
    own = torch.load(Path(directory) / f"rank-{_rank()}.pt", weights_only=False)
    torch.set_rng_state(own["torch"])
    if own["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["cuda"])
    random.setstate(own["python"])
    return own["step"], Position(*own["position"])


def load_weights(directory: str | Path, model: Any) -> int:
    """Puts the trained weights into an unsharded ``model`` in one process; returns the steps they were trained.

    Raises:
        MedclmError: the directory is no checkpoint.
    """
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    if not (Path(directory) / ".metadata").is_file():
        raise MedclmError("there is no checkpoint", where=directory, expected="a directory with .metadata")
    weights = _weights(model)
    dcp.load({"model": weights}, checkpoint_id=str(directory), no_dist=True)
    set_model_state_dict(model, weights, options=StateDictOptions(strict=False))
    return int(torch.load(Path(directory) / "rank-0.pt", weights_only=False)["step"])


def _state(model: Any, optimizer: Any) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    return {"model": _weights(model), "optimizer": get_optimizer_state_dict(model, optimizer)}


def _weights(model: Any) -> dict[str, Any]:
    """The trained weights by name, sharded where the model is. A frozen weight's second, tied name stays out too."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    trained = {name for name, weight in model.named_parameters(remove_duplicate=False) if weight.requires_grad}
    state = get_model_state_dict(model, options=StateDictOptions(ignore_frozen_params=True))
    return {name: weight for name, weight in state.items() if name in trained}


def _rank() -> int:
    import torch.distributed as dist

    return dist.get_rank() if dist.is_initialized() else 0

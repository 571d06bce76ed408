"""Checkpoints: torch.distributed.checkpoint, saved by all ranks, handed to Ray Train, resumed bit for bit.

One directory: the DCP shards of the trained weights (only the adapter where LoRA is used) and of the optimizer, and one
``rank-N.pt`` a rank with what is its own: steps done, the positions of its data streams, the schedule's states, the
losses of the schedule's present window, random state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm.errors import MedclmError

if TYPE_CHECKING:
    from medclm.train.data import Position


@dataclass
class Progress:
    """How far a run is, beside its weights.

    Attributes:
        step: optimizer steps done.
        positions: stream number to the position that its next steps are drawn from.
        course: the schedule's states, see :meth:`medclm.train.course.Course.saved`.
        window: this rank's losses of the schedule's present window.
    """

    step: int = 0
    positions: dict[int, Position] = field(default_factory=dict)
    course: dict[str, Any] = field(default_factory=dict)
    window: dict[str, Any] = field(default_factory=dict)


def save(directory: str | Path, model: Any, optimizer: Any, progress: Progress) -> None:
    """Writes this rank's part. All ranks call it, each with a directory of its own or all with the same.

    Raises:
        MedclmError: the directory cannot be written (a full disk). What was saved before is left as it is.
    """
    import random

    import torch
    import torch.distributed.checkpoint as dcp

    from medclm.train.parallel import world_size

    own = {
        "step": progress.step,
        "positions": {stream: (p.epoch, p.window, p.offset) for stream, p in progress.positions.items()},
        "course": progress.course,
        "window": progress.window,
        "world": world_size(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
    }
    try:
        dcp.save(_state(model, optimizer), checkpoint_id=str(directory), no_dist=world_size() == 1)
        torch.save(own, Path(directory) / f"rank-{_rank()}.pt")
    except (Exception, dcp.api.CheckpointException) as error:
        if _is_full(error):
            raise MedclmError(
                "the checkpoint cannot be written", where=directory, got=error,
                remedy="free some space there; the checkpoints before it are whole, and the same command resumes",
            ) from error  # fmt: skip
        raise


def _is_full(error: BaseException) -> bool:
    """Whether ``error``, or one that it wraps (DCP gathers its ranks' errors), is of the file system."""
    causes = [cause[0] if isinstance(cause, tuple) else cause for cause in getattr(error, "failures", {}).values()]
    return any(isinstance(cause, OSError) for cause in (error, *causes)) or any(
        words in str(error) for words in ("PytorchStreamWriter", "file write failed", "unexpected pos")
    )


def load(directory: str | Path, model: Any, optimizer: Any) -> Progress:
    """Puts model, optimizer and random state back, and returns how far the run was.

    With another number of ranks than it was saved by, weights and optimizer are resharded, the data goes on where it
    was, and each rank's random state begins anew.
    """
    import random

    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    from medclm.train.parallel import world_size

    state = _state(model, optimizer)
    dcp.load(state, checkpoint_id=str(directory), no_dist=world_size() == 1)
    options = StateDictOptions(strict=False)
    set_state_dict(
        model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=options
    )
    ranks = [torch.load(file, weights_only=False) for file in sorted(Path(directory).glob("rank-*.pt"), key=_number)]
    if len(ranks) == world_size():
        own = ranks[_rank()]
        torch.set_rng_state(own["torch"])
        if own["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])
        random.setstate(own["python"])
    return _progress(ranks, _rank(), world_size())


def _progress(ranks: list[dict[str, Any]], rank: int, world: int) -> Progress:
    """One rank's progress out of what ``len(ranks)`` ranks saved; the window's losses are taken over by some rank."""
    from medclm.train.data import Position
    from medclm.train.meter import merged

    if len(ranks) != ranks[0]["world"]:
        raise MedclmError(
            "the checkpoint is not whole", expected=f"{ranks[0]['world']} rank files", got=len(ranks),
            remedy="delete it, so that the run resumes from the one before",
        )  # fmt: skip
    positions = {stream: Position(*place) for saved in ranks for stream, place in saved["positions"].items()}
    window = merged([saved["window"] for number, saved in enumerate(ranks) if number % world == rank])
    return Progress(ranks[0]["step"], positions, ranks[0]["course"], window)


def verify(directory: str | Path, model: Any) -> None:
    """Reads this rank's part of the trained weights back and compares it bit for bit with what the model holds.

    Every rank checks its own slice: a known fault elsewhere saved only rank 0's.

    Raises:
        MedclmError: a weight is missing or differs.
    """
    import torch
    import torch.distributed.checkpoint as dcp

    from medclm.train.parallel import world_size

    weights = _weights(model)
    read = {name: torch.full_like(weight, float("nan")) for name, weight in weights.items()}
    dcp.load({"model": read}, checkpoint_id=str(directory), no_dist=world_size() == 1)
    for name, weight in weights.items():
        if not torch.equal(_local(read[name]), _local(weight)):
            raise MedclmError(
                "the checkpoint does not hold what the model holds", where=f"{directory}: {name}, rank {_rank()}",
                remedy="this is a fault of the storage or of medclm; the checkpoints before it are whole",
            )  # fmt: skip


def load_weights(directory: str | Path, model: Any) -> int:
    """Puts the trained weights into an unsharded ``model`` in one process; returns the steps they were trained.

    Raises:
        MedclmError: the directory is no checkpoint, or one of another model.
    """
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    if not (Path(directory) / ".metadata").is_file():
        raise MedclmError("there is no checkpoint", where=directory, expected="a directory with .metadata")
    weights = _weights(model)
    try:
        dcp.load({"model": weights}, checkpoint_id=str(directory), no_dist=True)
    except (RuntimeError, ValueError, dcp.api.CheckpointException) as error:
        raise MedclmError(
            "the checkpoint is of another model", where=directory, got=str(error).strip().splitlines()[-1][:200],
            remedy="give the configuration that it was trained with",
        ) from error  # fmt: skip
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


def _local(tensor: Any) -> Any:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _number(file: Path) -> int:
    return int(file.stem.partition("-")[2])


def _rank() -> int:
    import torch.distributed as dist

    return dist.get_rank() if dist.is_initialized() else 0

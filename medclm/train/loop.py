"""The worker's loop: one for all stages. Read it from the top."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm.errors import MedclmError

if TYPE_CHECKING:
    from medclm.train.checkpoint import Progress
    from medclm.train.collate import Batch
    from medclm.train.feed import Step, Stream
    from medclm.train.meter import Meter
    from medclm.train.setup import Run

STOP = "stop-request"
"""A file of this name in the run's folder makes the run save a checkpoint after its present step, and end."""


def train_worker(settings: dict[str, Any]) -> None:
    """One worker of a run.

    Args:
        settings: config (dict), streams (int), data, base, out (addresses), board (actor or None), start (a checkpoint
            of another run, or nothing).
    """
    from medclm.train import validate
    from medclm.train.feed import prefetch
    from medclm.train.log import Log
    from medclm.train.meter import Meter
    from medclm.train.setup import feed, prepare, streams_of

    streams = streams_of(settings)  # read in the background while the model is loaded
    run, meter = prepare(settings), Meter()
    first = resume(run, streams, meter)
    config, log = run.config, Log(run, first)
    pairs = validate.held_out(settings["data"], "validate", config.evaluate_limit)
    probe = probe_batches(run)
    every, warned = config.evaluate_every or config.steps, False
    with contextlib.closing(run.course), contextlib.closing(log):
        for step in prefetch(feed(run, list(streams.values()), first)):
            stop, leaving = update(run, step.batches, step.number, meter), False
            done = step.number + 1
            if run.course.ends(done):
                run.course.observe(done, meter.take_window(), validate.losses(run.model, probe, run.device))
                log.schedule(done, run.course)
            if done % config.log_every == 0 or done == config.steps:
                log.numbers(done, *meter.flush())
                noticed = preempted()
                leaving, warned = noticed and not warned, noticed
            evaluated = bool(pairs) and (done % every == 0 or done == config.steps)
            if evaluated:
                evaluate(run, log, pairs, done)
            if done % config.checkpoint_every == 0 or done == config.steps or stop or leaving:
                save(run, progress_of(run, step, list(streams), meter), log)
            elif evaluated:
                log.report()
            if stop:
                return


def update(run: Run, batches: list[Batch], step: int, meter: Meter) -> bool:
    """One optimizer step over the micro-batches; returns whether somebody asked for the run to stop.

    Raises:
        MedclmError: a loss or gradient is not finite; nothing is updated, and the message names the rows.
    """
    import torch

    from medclm.train import losses
    from medclm.train.parallel import all_sum, clip_gradients, sync_ranks

    config = run.config
    parts = losses.Weights(config.loss.answer, config.loss.reasoning, config.loss.localization)
    asked = torch.tensor([float(run.rank == 0 and stop_asked(run))], dtype=torch.float64)
    total = all_sum(torch.cat([losses.counts(batches), asked]))
    passes = []
    for number, batch in enumerate(batches):
        batch = batch.to(run.device)
        sync_ranks(run.model, number == len(batches) - 1, run.reshard)
        share, seen = losses.loss_of(run.model, batch, total, parts)
        (share * run.world).backward()  # FSDP takes the mean over ranks; the shares already add up to the loss
        passes.append((batch, seen, share.detach()))
    norm = clip_gradients(run.parameters, config.optim.clip)
    if not math.isfinite(norm):
        raise not_finite(step, passes)
    set_rates(run, step)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    for batch, seen, loss in passes:
        lengths = batch.attention_mask.sum(1).tolist()
        meter.add(batch, seen, loss, run.cost.of(lengths, len(batch.examples)))
    meter.step()
    return bool(total[3])


def not_finite(step: int, passes: list[Any]) -> MedclmError:
    """The error of a step whose gradient is not finite, the same on every rank.

    Args:
        passes: (batch, what its loss saw, loss) of this rank's micro-batches.
    """
    from medclm.train.losses import not_finite_rows
    from medclm.train.parallel import all_objects

    bad = [key for batch, seen, _ in passes for key in not_finite_rows(batch, seen)]
    everywhere = [key for keys in all_objects(bad) for key in keys]
    if everywhere:
        return MedclmError(
            "the loss is not finite", where=f"step {step}: {', '.join(everywhere[:20])}",
            remedy="look at these rows; nothing was updated, and the last checkpoint is whole",
        )  # fmt: skip
    mine = [example.key for batch, *_ in passes for example in batch.examples]
    rows = [key for keys in all_objects(mine) for key in keys]
    return MedclmError(
        "the gradient is not finite", where=f"step {step}: {', '.join(rows[:20])}",
        remedy="lower optim.lr, or look at these rows; nothing was updated, and the last checkpoint is whole",
    )  # fmt: skip


def set_rates(run: Run, step: int) -> None:
    """Each parameter group's learning rate: its own peak, one curve."""
    from medclm.train.schedule import learning_rate

    optim = run.config.optim
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(step, run.config.steps, group["peak"], optim.min_lr_share, optim.warmup_share)


def resume(run: Run, streams: dict[int, Stream], meter: Meter) -> int:
    """Takes up the newest checkpoint, where there is one; returns the steps done."""
    import ray.train

    from medclm.train import checkpoint

    saved = ray.train.get_checkpoint()
    if saved is None and run.settings.get("start"):
        saved = ray.train.Checkpoint(run.settings["start"])
    if saved is None:
        return 0
    with saved.as_directory() as folder:
        progress = checkpoint.load(folder, run.model, run.optimizer)
        checkpoint.verify(folder, run.model)
    for number, stream in streams.items():
        stream.rows.position = progress.positions[number]
    run.course.restore(progress.course)
    meter.window = progress.window
    return progress.step


def progress_of(run: Run, step: Step, streams: list[int], meter: Meter) -> Progress:
    from medclm.train.checkpoint import Progress

    positions = dict(zip(streams, step.positions, strict=True))
    return Progress(step.number + 1, positions, run.course.saved(), meter.window)


def save(run: Run, progress: Progress, log: Any) -> None:
    """A checkpoint: written by all ranks to a local folder, checked, and sent to the run's storage behind the loop."""
    import ray.train

    from medclm.train import checkpoint

    began = time.perf_counter()
    folder = tempfile.mkdtemp(prefix="medclm-checkpoint-")
    checkpoint.save(folder, run.model, run.optimizer, progress)
    if run.world == 1:  # with more, a folder holds one rank's part; each rank compares its own when it resumes
        checkpoint.verify(folder, run.model)
    log.latest["checkpoint_s"] = time.perf_counter() - began
    log.report(ray.train.Checkpoint.from_directory(folder))


def evaluate(run: Run, log: Any, pairs: Any, done: int) -> None:
    """Held-out accuracy, and the first answers for the report."""
    from medclm.train import validate

    texts = validate.answers(run.model, run.encoder, pairs, run.rank, run.device)
    log.accuracy(done, validate.accuracy(texts, run.encoder, pairs, run.rank))
    log.samples(done, pairs[:: run.world], texts)


def probe_batches(run: Run) -> list[Any]:
    """The held-out batches that the schedule decides by; none where it does not look at them."""
    from medclm.train import validate

    config = run.config
    if config.schedule.name != "competence" or config.schedule.probe_questions == 0:
        return []
    pairs = validate.held_out(run.settings["data"], "validate", config.schedule.probe_questions)
    size = max(1, config.batch_size // run.world // config.accumulate)
    return validate.batches_of(pairs, run.rank, run.view, run.batch, size)


def preempted() -> bool:
    """Whether the cluster is about to take one of the run's nodes away; the same on every rank.

    The run saves once and goes on: Ray Train starts it again when the node is gone, and takes a loop that returns for
    one that has finished.
    """
    import ray.train

    return ray.train.get_preemption_info() is not None


def stop_asked(run: Run) -> bool:
    return Path(run.settings["out"], STOP).exists()

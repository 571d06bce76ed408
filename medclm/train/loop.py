"""The worker's loop: one for all stages. Read it from the top."""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclm.config import TrainConfig
from medclm.errors import MedclmError

if TYPE_CHECKING:
    import torch

    from medclm.train.collate import Batch, Encoder
    from medclm.train.data import Position, Rows

RESHARD_ABOVE = 1_000_000_000
"""Parameters from which a block's weights are freed between its forward and its backward pass."""


@dataclass
class Run:
    """What a worker trains with."""

    config: TrainConfig
    settings: dict[str, Any]
    model: Any
    encoder: Encoder
    layers: tuple[int, ...]
    optimizer: Any
    parameters: list[Any]
    device: torch.device
    rank: int
    world: int


def train_worker(settings: dict[str, Any]) -> None:
    """One worker of a run. ``settings``: config (dict); data, base, tensorboard (paths); board (actor or None);
    start (a checkpoint of another run, or nothing)."""
    import ray.train

    from medclm.train import checkpoint, validate
    from medclm.train.feed import prefetch
    from medclm.train.meter import Meter

    rows = rows_of(settings)  # read in the background while the model is loaded
    run = prepare(settings)
    config, meter, first = run.config, Meter(), 0
    saved = ray.train.get_checkpoint()
    if saved is None and settings.get("start"):
        saved = ray.train.Checkpoint(settings["start"])
    if saved is not None:
        with saved.as_directory() as folder:
            first, rows.position = checkpoint.load(folder, run.model, run.optimizer)
    log = Log(run)
    pairs = validate.held_out(settings["data"], "validate", config.evaluate_limit)
    every = config.evaluate_every or config.steps
    for step, batches, position in prefetch(feed(run, rows, first)):
        learning_rate = update(run, batches, step, meter)
        done = step + 1
        metrics: dict[str, float] = {}
        if done % config.log_every == 0 or done == config.steps:
            metrics = {"step": done, "lr": learning_rate, **meter.flush()}
        if pairs and (done % every == 0 or done == config.steps):
            right = validate.accuracy(run.model, run.encoder, pairs, run.rank, run.device)
            metrics |= {"step": done, "accuracy": right}
        log.write(done, metrics)
        if done % config.checkpoint_every == 0 or done == config.steps:
            with tempfile.TemporaryDirectory() as folder:
                checkpoint.save(folder, run.model, run.optimizer, done, position)
                ray.train.report(dict(log.latest), checkpoint=ray.train.Checkpoint.from_directory(folder))
        elif "accuracy" in metrics:
            ray.train.report(dict(log.latest))
    log.close()


def update(run: Run, batches: list[Batch], step: int, meter: Any) -> float:
    """One optimizer step over the micro-batches; returns its learning rate.

    Raises:
        MedclmError: a loss or gradient is not finite; the message names this rank's rows.
    """
    from medclm.train import losses
    from medclm.train.parallel import all_sum, clip_gradients, sync_gradients
    from medclm.train.schedule import learning_rate

    optim, weights = run.config.optim, run.config.loss
    parts = losses.Weights(weights.answer, weights.reasoning, weights.localization)
    total = all_sum(losses.counts(batches))
    for number, batch in enumerate(batches):
        batch = batch.to(run.device)
        sync_gradients(run.model, number == len(batches) - 1)
        share, seen = losses.loss_of(run.model, batch, total, parts)
        (share * run.world).backward()  # FSDP takes the mean over ranks; the shares already add up to the loss
        meter.add(batch, seen, share.detach())
    norm = clip_gradients(run.parameters, optim.clip)
    if not math.isfinite(norm):
        rows = [example.key for batch in batches for example in batch.examples]
        raise MedclmError("the gradient is not finite", where=f"step {step}, worker {run.rank}: {', '.join(rows)}",
                          remedy="lower optim.lr, or look at these rows")  # fmt: skip
    rate = learning_rate(step, run.config.steps, optim.lr, optim.min_lr_share, optim.warmup_share)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    meter.step()
    return rate


def prepare(settings: dict[str, Any]) -> Run:
    """The model, wrapped and sharded, and its optimizer. The same seed gives every rank the same initial weights."""
    import ray.train
    import ray.train.torch
    import torch

    from medclm.train import localize, model, parallel
    from medclm.train.collate import Encoder

    config = TrainConfig.model_validate(settings["config"])
    context = ray.train.get_context()
    rank, world, device = context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    loaded = model.load_base(settings["base"])
    encoder = Encoder(loaded.processor, loaded.family, loaded.grid_hw)
    layers: tuple[int, ...] = ()
    if config.loss.localization > 0:
        layers = localize.install(loaded.model, config.loss.localization_layers, config.loss.localization_heads)
    net = loaded.model
    if config.model.freeze_vision:
        model.freeze_vision(net, loaded.family)
    if config.model.finetune == "lora":
        lora = config.model
        net = model.add_lora(net, loaded.family, lora.lora_rank, lora.lora_alpha, lora.lora_dropout)
    size = sum(parameter.numel() for parameter in net.parameters())
    mixed = config.model.dtype != "float32" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    net = parallel.shard(net.to(device).train(), loaded.family.blocks, device, mixed, size > RESHARD_ABOVE)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    random.seed(config.seed + rank)
    torch.manual_seed(config.seed + rank)
    return Run(config, settings, net, encoder, layers, _optimizer(parameters, config), parameters, device, rank, world)


def _optimizer(parameters: list[Any], config: TrainConfig) -> Any:
    """AdamW; matrices decay, vectors (norms, biases) do not."""
    import torch

    optim = config.optim
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=optim.lr, betas=optim.betas, foreach=True)


def rows_of(settings: dict[str, Any]) -> Rows:
    """This rank's training rows, from their beginning."""
    import ray.train

    from medclm.train import data

    context = ray.train.get_context()
    fragments = data.fragments_of(settings["data"], "train")
    share = data.share_of(fragments, context.get_world_rank(), context.get_world_size())
    return data.Rows(share, "train", settings["config"]["seed"])


def feed(run: Run, rows: Rows, first: int) -> Iterator[tuple[int, list[Batch], Position]]:
    """This rank's steps from ``first`` on: (step, micro-batches, data position after it)."""
    from medclm.train import schedule
    from medclm.train.collate import collate
    from medclm.train.feed import steps_of
    from medclm.train.views import Example, make_view

    config, loss = run.config, run.config.loss
    local = config.batch_size // run.world

    def view(record: Any, question: Any, step: int, place: int) -> Example:
        stage = schedule.stage_of(config.schedule, config.steps, config.seed, step, place)
        return make_view(record, question, stage, run.encoder.family, config.reasoning_steps, stage in loss.loc_stages)

    def batch(examples: list[Example]) -> Batch:
        return collate(run.encoder, examples, run.layers, loss.localization_heads, loss.localization_form)

    sizes = (config.accumulate, local // config.accumulate)
    return steps_of(rows, view, batch, sizes, range(first, config.steps), run.rank * local)


class Log:
    """TensorBoard scalars and the progress board, written by rank 0; ``latest`` is what every rank reports.

    Ray keeps a reported dict until its controller asks for it, so a copy is handed over.
    """

    def __init__(self, run: Run) -> None:
        self.latest: dict[str, float] = {}
        self._board = run.settings.get("board") if run.rank == 0 else None
        self._writer: Any = None
        if run.rank == 0 and run.settings.get("tensorboard"):
            from tensorboardX import SummaryWriter

            os.makedirs(run.settings["tensorboard"], exist_ok=True)
            self._writer = SummaryWriter(run.settings["tensorboard"], flush_secs=5)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        self.latest |= metrics
        for name, value in metrics.items():
            if self._writer is not None and name != "step":
                self._writer.add_scalar(name, value, step)
        if metrics and self._board is not None:
            self._board.put.remote(self.latest)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

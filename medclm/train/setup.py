"""What a worker trains with: model, optimizer, schedule, streams of rows; from a run's settings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclm.config import TrainConfig
from medclm.data.records import Question, Record

if TYPE_CHECKING:
    import torch

    from medclm.train.collate import Batch, Encoder
    from medclm.train.course import Course
    from medclm.train.feed import Step, Stream
    from medclm.train.flops import Cost
    from medclm.train.localize import Heads
    from medclm.train.views import Example, Stage

RESHARD_ABOVE = 1_000_000_000
"""Parameters from which a block's weights are freed between its forward and its backward pass."""
MEASURED_ROWS = 32
"""Questions of the training split by which heads are chosen."""


@dataclass
class Run:
    """What a worker trains with. ``layers``: decoder layers whose attention is supervised, empty without L_loc;
    ``heads``: their query heads, see :data:`medclm.train.localize.Heads`; ``reshard``: see :func:`parallel.shard`."""

    config: TrainConfig
    settings: dict[str, Any]
    model: Any
    encoder: Encoder
    layers: tuple[int, ...]
    heads: Heads
    optimizer: Any
    parameters: list[Any]
    course: Course
    cost: Cost
    device: torch.device
    rank: int
    world: int
    reshard: bool

    def view(self, record: Record, question: Question, stage: Stage | str) -> Example:
        """The example of a question in a stage."""
        from medclm.train.views import make_view

        loss = self.config.loss
        localize = loss.localization_box if stage in loss.loc_stages else None
        steps = self.config.reasoning_steps
        by_line = loss.localization_at == "line"
        return make_view(record, question, stage, self.encoder.family, steps, localize, by_line)  # type: ignore[arg-type]

    def batch(self, examples: list[Example]) -> Batch:
        from medclm.train.collate import collate

        loss = self.config.loss
        return collate(self.encoder, examples, self.layers, self.heads, loss.localization_form)


def prepare(settings: dict[str, Any]) -> Run:
    """The model, wrapped and sharded, and its optimizer. The same seed gives every rank the same initial weights."""
    import ray.train
    import ray.train.torch
    import torch

    from medclm.train import flops, model, parallel
    from medclm.train.collate import Encoder
    from medclm.train.course import Course

    config = TrainConfig.model_validate(settings["config"])
    context = ray.train.get_context()
    rank, world, device = context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    loaded = model.load_base(settings["base"])
    encoder = Encoder(loaded.processor, loaded.family, loaded.grid_hw)
    layers, heads = supervised(loaded.model, encoder, config, settings["data"])
    net = trainable(loaded, config)
    cost = flops.cost_of(loaded.model, loaded.family, _patches(loaded))
    if config.parallel.checkpoint_activations:
        net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    size = sum(parameter.numel() for parameter in net.parameters())
    reshard = {"auto": size > RESHARD_ABOVE, "always": True, "never": False}[config.parallel.reshard]
    net = parallel.shard(
        net.train(), loaded.family.blocks, device, _mixed(config, device), reshard, config.parallel.cpu_offload
    )
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    random.seed(config.seed + rank)
    torch.manual_seed(config.seed + rank)
    course = Course(config.schedule, config.steps, config.seed, config.bucket_steps)
    optimizer = _optimizer(net, loaded.family, config)
    return Run(
        config, settings, net, encoder, layers, heads, optimizer, parameters, course, cost, device, rank, world, reshard
    )


def supervised(model: Any, encoder: Encoder, config: TrainConfig, data: str) -> tuple[tuple[int, ...], Heads]:
    """The decoder layers and heads that L_loc supervises; ``model`` is the base, so that a run that goes on finds the
    same ones. Without L_loc there are none."""
    from medclm.train import localize
    from medclm.train.heads import choose_heads, rank_heads
    from medclm.train.validate import held_out
    from medclm.train.views import make_view

    loss = config.loss
    if not loss.localization:
        return (), ()
    heads: Heads = loss.localization_heads
    if loss.localization_choose:
        pairs = [pair for pair in held_out(data, "train", MEASURED_ROWS) if pair[1].reasoning]
        views = [make_view(*pair, "medium", encoder.family, config.reasoning_steps) for pair in pairs]
        heads = choose_heads(rank_heads(model, encoder, views), loss.localization_choose)
    return localize.install(model, () if loss.localization_choose else loss.localization_layers, heads), heads


def trainable(loaded: Any, config: TrainConfig) -> Any:
    """The loaded model with what is not trained frozen, and adapters around it where they are wanted."""
    from medclm.train import model

    lora, how = config.model, config.model.finetune
    if how.startswith("lora"):
        return model.add_lora(
            loaded.model, loaded.family, lora.lora_rank, lora.lora_alpha, lora.lora_dropout,
            whole_projector=how == "lora-projector",
        )  # fmt: skip
    parts = {"vision": how == "full", "projector": True, "language": how != "projector"}
    model.set_trainable(loaded.model, loaded.family, **parts)
    return loaded.model


def _mixed(config: TrainConfig, device: torch.device) -> bool:
    """Whether the passes compute in bfloat16."""
    import torch

    if config.model.dtype == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.model.dtype == "bfloat16"


def _patches(loaded: Any) -> int:
    """Patches that the vision tower sees of a large square picture."""
    patch = loaded.model.config.vision_config.patch_size
    side = patch if isinstance(patch, int) else patch[0]
    height, width = loaded.family.frame_of((1000, 1000)).frame_hw
    return (height // side) * (width // side)


def _optimizer(net: Any, family: Any, config: TrainConfig) -> Any:
    """AdamW; each part of the model at its own rate, matrices decay, vectors (norms, biases) do not."""
    import torch

    from medclm.train.model import parameter_groups

    optim = config.optim
    rates = {"vision": optim.vision_lr or optim.lr, "projector": optim.projector_lr or optim.lr, "language": optim.lr}
    groups = parameter_groups(net, family, rates, optim.weight_decay)  # type: ignore[arg-type]
    for group in groups:
        group |= {"peak": group["lr"], "name": f"{group['part']}{'' if group['weight_decay'] else '-vectors'}"}
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, foreach=True)


def streams_of(settings: dict[str, Any]) -> dict[int, Stream]:
    """This rank's streams by number, from their beginning; their rows are read in the background from now on."""
    import ray.train

    from medclm.train import data
    from medclm.train.feed import Stream

    context, config = ray.train.get_context(), settings["config"]
    count = settings["streams"]
    shares = data.deal(data.fragments_of(settings["data"], "train"), count)
    mine = data.streams_of_rank(count, context.get_world_rank(), context.get_world_size())
    shelf = data.Shelf([fragment for number in mine for fragment in shares[number]], "train")
    order = data.swap_reasoning if config["reasoning_from"] == "other" else None
    size = config["batch_size"] // count
    return {
        number: Stream(
            data.Rows(shares[number], shelf, config["seed"], order), range(number * size, (number + 1) * size)
        )
        for number in mine
    }


def feed(run: Run, streams: list[Stream], first: int) -> Iterator[Step]:
    """This rank's steps from ``first`` on."""
    from medclm.train.feed import Plan, steps_of
    from medclm.train.views import domain_of

    config = run.config

    def view(record: Record, question: Question, step: int, place: int) -> Example:
        return run.view(record, question, run.course.stage(step, place, domain_of(record, question)))

    def length(example: Example) -> int:
        return len(run.encoder.text(example)[0])

    plan = Plan(config.accumulate, config.bucket_steps, config.seed)
    return steps_of(streams, view, length, run.batch, plan, range(first, config.steps))

"""The build: a detection dataset streams through Ray Data and becomes a built dataset directory.

::

    plan ─> decode (tasks) ─> Segment (actors, GPU) ─> Annotate (actors) ─> shard_rows rows a block ─> publish (tasks)
    plan ─> Together (actors: decode, Segment, Annotate) ─────> shard_rows rows a block ─> publish (tasks)

Which of the two, :func:`_is_together` says (decision 0006). Every planned image ends as exactly one row: good, or set
aside with a reason. Order is kept, so a shard's content is a function of its index alone; shards that have a receipt
are skipped when a build is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from medclm import session, storage
from medclm.config import BuildConfig
from medclm.data import card, privacy, readers, shards
from medclm.data.annotate import Annotate
from medclm.data.plan import Plan, claim, make_plan, reasons
from medclm.data.readers import segmenter_of
from medclm.data.rejects import Reject
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.stage import Reword
from medclm.data.segmenters import check_segmenter
from medclm.data.stages import Segment, Together, decode, publish
from medclm.errors import MedclmError, UsageError

if TYPE_CHECKING:
    from ray.data import Dataset

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

DECODE_MEMORY = 512 * 2**20
"""Bytes a decoding task reserves. It also keeps Ray from fusing decoding into the segmenter's actors."""
WAITING_CPUS = 0.1
"""What an actor reserves that waits for others most of the time."""
BLOCK_BATCHES = 2
"""Batches that a task takes at least."""
MOST_BLOCKS = 2000
"""Blocks that the driver hands to Ray, about: each costs it a millisecond."""


def build(
    config: BuildConfig, progress: Progress | None = None, say: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Builds the dataset of ``config`` and returns its manifest; continues where an earlier, killed build stopped.

    Args:
        progress: called as shards are done. ``say``: is told, in words, what rewording will cost before it begins.

    Raises:
        UsageError: inputs are missing, the segmenter is unknown, or ``out`` holds a build of another configuration.
        MedclmError: more than ``config.max_failed_share`` of the images were set aside.
    """
    config = config.model_copy(update={"segmenter": segmenter_of(config.format, config.segmenter)})
    check_segmenter(config.segmenter)  # a misspelt name or missing weights fail here, not in an actor
    key = None if config.ids == "keep" else privacy.load_key(config.id_key_file or None)
    plan = make_plan(config, privacy.key_check(key) if key else None)
    claim(config.out, plan.description)
    total = -(-len(plan.rows) // config.shard_rows)
    done = shards.finished_shards(config.out)
    todo = [index for index in range(total) if index not in done]
    if todo:
        annotating = _annotating(config, plan, key)
        _announce_rewording(config, plan, annotating, say)
        shards.write_rejects(config.out, "reader", _anonymous(plan.rejects, key, config))
        with session.ray_session():
            _stream(config, plan, todo, annotating, progress)
    found = {"reader_rejects": reasons(plan.rejects), "reader_notes": list(plan.notes[:100])}
    manifest = shards.write_manifest(config.out, {**plan.description, **found})
    card.write_card(config.out, manifest)
    _check_failed_share(manifest, plan.rejects, len(plan.rows), config)
    return manifest


def _annotating(config: BuildConfig, plan: Plan, key: bytes | None) -> dict[str, Any]:
    """The arguments of :class:`Annotate`."""
    return {
        "catalogue": plan.catalogue,
        "asking": {
            "seed": config.seed,
            "limit": config.max_questions,
            "choices_share": config.choices_share,
            "types": config.question_types,
        },
        "min_coverage": config.min_coverage,
        "linking": config.linking,
        "key": key,
        "hash_image_ids": config.ids == "hash-all",
    }


def _announce_rewording(
    config: BuildConfig, plan: Plan, annotating: dict[str, Any], say: Callable[[str], None] | None
) -> None:
    """Says what rewording will take, and refuses a price above the limit before anything is sent."""
    if config.reword.engine == "none":
        return
    if not config.reword.model:
        raise UsageError("rewording needs a model", expected="reword.model=NAME")
    from medclm.data.rewrite.cost import check_cost
    from medclm.data.rewrite.sample import estimate_dataset

    found = estimate_dataset([row for row, _ in plan.rows], Annotate(**annotating), config.window, config.reword)
    if say:
        say(f"Rewording with {config.reword.engine}:{config.reword.model}: {found}")
    check_cost(found, config.reword.max_cost)


def _anonymous(rejects: list[Reject], key: bytes | None, config: BuildConfig) -> list[Reject]:
    if key is None:
        return rejects
    return [privacy.pseudonymise_reject(reject, key, None, config.ids == "hash-all") for reject in rejects]


def _check_failed_share(manifest: dict[str, Any], rejects: list[Reject], records: int, config: BuildConfig) -> None:
    lost = manifest["rejected_images"] + sum(reject.whole_image for reject in rejects)
    seen = records + sum(reject.whole_image for reject in rejects)
    if lost > config.max_failed_share * seen:
        raise MedclmError(
            f"{lost} of {seen} images were set aside",
            where=storage.join(config.out, "rejected"),
            expected=f"at most {config.max_failed_share:.0%}",
            got={**manifest["rejected"], **manifest["build"]["reader_rejects"]},
            remedy="mend the input, or raise max_failed_share; the good rows are kept",
        )


def _stream(
    config: BuildConfig, plan: Plan, todo: list[int], annotating: dict[str, Any], progress: Progress | None
) -> None:
    """Runs the shards ``todo`` through Ray Data; the driver sees the indices of the rows that were written."""
    rows = config.shard_rows
    planned = [n for shard in todo for n in range(shard * rows, min((shard + 1) * rows, len(plan.rows)))]
    with session.ordered_data():
        written = _stages(config, plan_table(plan, planned), annotating)
        finished = len(plan.rows) - len(planned)
        for batch in written.iter_batches(batch_size=None):
            finished += len(batch["index"])
            if progress:
                progress(finished, len(plan.rows))


def _stages(config: BuildConfig, table: pa.Table, annotating: dict[str, Any]) -> Dataset:
    """The stages as one lazy Ray dataset of the rows of ``table``."""
    import ray

    resources = ray.cluster_resources()
    gpus = config.num_gpus if config.num_gpus is not None else float(session.has_gpus())
    _check_room(resources, config, gpus)
    block = config.batch_size * max(BLOCK_BATCHES, len(table) // (MOST_BLOCKS * config.batch_size))
    batches: dict[str, Any] = {"batch_size": config.batch_size, "batch_format": "pyarrow"}
    rows: Dataset = ray.data.from_arrow([table.slice(at, block) for at in range(0, len(table), block)])
    if _is_together(config, gpus):
        rows = rows.map_batches(
            Together,
            fn_constructor_kwargs={"stages": _makers(config, annotating)},
            compute=ray.data.ActorPoolStrategy(size=config.segmenter_actors + config.annotator_actors),
            **batches,
        )
    else:
        rows = _apart(rows, config, annotating, resources, gpus)
    if config.reword.engine != "none":
        rows = rows.map_batches(
            Reword,
            fn_constructor_kwargs={"config": config.reword},
            compute=ray.data.ActorPoolStrategy(size=config.reword.actors),
            num_gpus=config.reword.num_gpus or None,
            num_cpus=1 if _reword_cpus(config.reword) else WAITING_CPUS,
            **batches,
        )
    write = partial(publish, out=config.out, shard_rows=config.shard_rows)
    rows = rows.map_batches(write, batch_size=config.shard_rows, batch_format="pyarrow")
    # Fused into `write` (decision 0005): its batches are then exactly one shard's rows.
    return rows.repartition(target_num_rows_per_block=config.shard_rows, strict=True)


def _apart(
    rows: Dataset, config: BuildConfig, annotating: dict[str, Any], resources: dict[str, float], gpus: float
) -> Dataset:
    """Decoding, segmenting and annotating as a stage each, so that a GPU waits for none of the others."""
    import ray

    batches: dict[str, Any] = {"batch_size": config.batch_size, "batch_format": "pyarrow"}
    read, segment, annotate = _makers(config, annotating)
    decoders = ray.data.TaskPoolStrategy(size=_decoders(resources, config, gpus))
    rows = rows.map_batches(read(), compute=decoders, memory=DECODE_MEMORY, **batches)
    segmenters = ray.data.ActorPoolStrategy(size=config.segmenter_actors)
    rows = rows.map_batches(
        Segment,
        fn_constructor_kwargs=segment.keywords,
        compute=segmenters,
        num_gpus=gpus or None,
        num_cpus=0 if gpus else 1,  # Ray Data would take a CPU beside the GPU, which a small GPU node may not have
        **batches,
    )
    annotators = ray.data.ActorPoolStrategy(size=config.annotator_actors)
    return rows.map_batches(Annotate, fn_constructor_kwargs=annotate.keywords, compute=annotators, **batches)


def _makers(config: BuildConfig, annotating: dict[str, Any]) -> tuple[partial, partial, partial]:
    """What makes the stages from a planned row to a finished one, in the process that is to run them."""
    return (
        partial(partial, decode, window=config.window, keep_text=_keeps_text(config)),
        partial(Segment, spec=config.segmenter, cache=config.mask_cache),
        partial(Annotate, **annotating),
    )


def _is_together(config: BuildConfig, gpus: float) -> bool:
    """Whether one actor does all of a row: unless the segmenters have GPUs, which others should keep busy."""
    return config.layout == "together" or (config.layout == "auto" and not gpus)


def plan_table(plan: Plan, rows: list[int]) -> pa.Table:
    """The rows of a plan as the first stage takes them: index, record (JSON without pixels), complete."""
    return pa.table(
        {
            "index": rows,
            "record": [plan.rows[n][0] for n in rows],
            "complete": [plan.rows[n][1] for n in rows],
        }
    )


def _keeps_text(config: BuildConfig) -> bool:
    if config.text_overlay == "auto":
        return readers.FORMATS[config.format].watermarked
    return config.text_overlay == "keep"


def _decoders(resources: dict[str, float], config: BuildConfig, gpus: float) -> int:
    """Decoding tasks at once: every CPU but those of the actors and one that cuts and writes shards meanwhile."""
    actors = config.annotator_actors + (0 if gpus else config.segmenter_actors) + _reword_cpus(config.reword)
    return max(1, int(resources.get("CPU", 1)) - actors - 1)


def _reword_cpus(config: RewordConfig) -> int:
    """CPUs that rewording keeps busy: none where another machine or a GPU does it."""
    return config.actors if config.engine == "transformers" and not config.num_gpus else 0


def _check_room(resources: dict[str, float], config: BuildConfig, gpus: float) -> None:
    """A cluster too small for the actors would wait for ever."""
    needed = config.annotator_actors + _reword_cpus(config.reword) + 1 + (config.segmenter_actors if not gpus else 0)
    needed += not _is_together(config, gpus)
    if resources.get("CPU", 0) < needed:
        raise UsageError(
            "the cluster has too few CPUs for this build",
            expected=f"{needed} (one an actor, one to write, and one to decode where that is a stage)",
            got=resources.get("CPU", 0),
            remedy="lower segmenter_actors or annotator_actors",
        )
    if gpus and resources.get("GPU", 0) < gpus * config.segmenter_actors:
        raise UsageError(
            "the cluster has too few GPUs for this build",
            expected=gpus * config.segmenter_actors,
            got=resources.get("GPU", 0),
            remedy="lower segmenter_actors or num_gpus",
        )

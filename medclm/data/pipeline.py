"""The build: a detection dataset streams through Ray Data and becomes a built dataset directory.

::

    plan ─> decode (tasks) ─> Segment (actors, GPU) ─> Annotate (actors) ─> shard_rows rows a block ─> publish (tasks)

Every planned image ends as exactly one row: good, or set aside with a reason. Order is kept, so a shard's content is a
function of its index alone; shards that have a receipt are skipped when a build is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

from medclm import session, storage
from medclm.config import BuildConfig
from medclm.data import card, privacy, shards
from medclm.data.annotate import Annotate
from medclm.data.plan import Plan, claim, make_plan, reasons
from medclm.data.rejects import Reject
from medclm.data.segmenters import check_segmenter
from medclm.data.stages import Segment, decode, publish
from medclm.errors import MedclmError, UsageError

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

DECODE_MEMORY = 512 * 2**20
"""Bytes a decoding task reserves. It also keeps Ray from fusing decoding into the segmenter's actors."""
BLOCK_BATCHES = 2
"""Batches that a task takes at least."""
MOST_BLOCKS = 2000
"""Blocks that the driver hands to Ray, about: each costs it a millisecond."""


def build(config: BuildConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Builds the dataset of ``config`` and returns its manifest; continues where an earlier, killed build stopped.

    Raises:
        UsageError: inputs are missing, the segmenter is unknown, or ``out`` holds a build of another configuration.
        MedclmError: more than ``config.max_failed_share`` of the images were set aside.
    """
    check_segmenter(config.segmenter)  # a misspelt name or missing weights fail here, not in an actor
    key = None if config.ids == "keep" else privacy.load_key(config.id_key_file or None)
    plan = make_plan(config, privacy.key_check(key) if key else None)
    claim(config.out, plan.description)
    total = -(-len(plan.rows) // config.shard_rows)
    done = shards.finished_shards(config.out)
    todo = [index for index in range(total) if index not in done]
    if todo:
        shards.write_rejects(config.out, "reader", _anonymous(plan.rejects, key, config))
        with session.ray_session():
            _stream(config, plan, todo, key, progress)
    found = {"reader_rejects": reasons(plan.rejects), "reader_notes": list(plan.notes[:100])}
    manifest = shards.write_manifest(config.out, {**plan.description, **found})
    card.write_card(config.out, manifest)
    _check_failed_share(manifest, plan.rejects, len(plan.rows), config)
    return manifest


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


def _stream(config: BuildConfig, plan: Plan, todo: list[int], key: bytes | None, progress: Progress | None) -> None:
    """Runs the shards ``todo`` through Ray Data; the driver sees one small row a shard."""
    import ray

    gpus = config.num_gpus if config.num_gpus is not None else float(session.has_gpus())
    _check_room(ray.cluster_resources(), config, gpus)
    rows = config.shard_rows
    planned = [n for shard in todo for n in range(shard * rows, min((shard + 1) * rows, len(plan.rows)))]
    table = plan_table(plan, planned)
    block = config.batch_size * max(BLOCK_BATCHES, len(planned) // (MOST_BLOCKS * config.batch_size))
    asking = {
        "seed": config.seed,
        "limit": config.max_questions,
        "choices_share": config.choices_share,
        "types": config.question_types,
    }
    read = partial(decode, window=config.window, keep_text=config.text_overlay == "keep")
    actors = ray.data.ActorPoolStrategy
    with session.ordered_data():
        receipts = (
            ray.data.from_arrow([table.slice(at, block) for at in range(0, len(planned), block)])
            .map_batches(
                read,
                batch_size=config.batch_size,
                batch_format="pyarrow",
                memory=DECODE_MEMORY,
                compute=ray.data.TaskPoolStrategy(size=_decoders(ray.cluster_resources(), config, gpus)),
            )
            .map_batches(
                Segment,
                fn_constructor_kwargs={"spec": config.segmenter},
                compute=actors(size=config.segmenter_actors),
                batch_size=config.batch_size,
                batch_format="pyarrow",
                num_gpus=gpus or None,
            )
            .map_batches(
                Annotate,
                fn_constructor_kwargs={
                    "catalogue": plan.catalogue,
                    "asking": asking,
                    "min_coverage": config.min_coverage,
                    "linking": config.linking,
                    "key": key,
                    "hash_image_ids": config.ids == "hash-all",
                },
                compute=actors(size=config.annotator_actors),
                batch_size=config.batch_size,
                batch_format="pyarrow",
            )
            .map_batches(partial(publish, out=config.out, shard_rows=rows), batch_size=rows, batch_format="pyarrow")
            .repartition(target_num_rows_per_block=rows, strict=True)  # fused into publish: a batch is one shard's rows
        )
        finished = len(plan.rows) - len(planned)
        for written in receipts.iter_batches(batch_size=None):
            finished += len(written["index"])
            if progress:
                progress(finished, len(plan.rows))


def plan_table(plan: Plan, rows: list[int]) -> pa.Table:
    """The rows of a plan as the first stage takes them: index, record (JSON without pixels), complete."""
    return pa.table(
        {
            "index": rows,
            "record": [plan.rows[n][0] for n in rows],
            "complete": [plan.rows[n][1] for n in rows],
        }
    )


def _decoders(resources: dict[str, float], config: BuildConfig, gpus: float) -> int:
    """Decoding tasks at once: every CPU but those of the actors and one that cuts and writes shards meanwhile."""
    actors = config.annotator_actors + (0 if gpus else config.segmenter_actors)
    return max(1, int(resources.get("CPU", 1)) - actors - 1)


def _check_room(resources: dict[str, float], config: BuildConfig, gpus: float) -> None:
    """A cluster too small for the actors would wait for ever."""
    needed = config.annotator_actors + 2 + (config.segmenter_actors if not gpus else 0)
    if resources.get("CPU", 0) < needed:
        raise UsageError(
            "the cluster has too few CPUs for this build",
            expected=f"{needed} (one an actor, one to decode, one to write)",
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

"""A local model on Ray: windows of asks stream through a pool of actors, each with a copy of the model."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from medclm import session
from medclm.errors import UsageError
from medclm.eval.asks import Window
from medclm.eval.replies import Reply

Keep = Callable[[int, list[Reply]], None]
"""Gets the replies of a window by its place, as soon as they are there."""


class AnswerWindows:
    """The actor: pickled windows in, pickled replies out (:class:`medclm.eval.local.Answerer`)."""

    def __init__(self, **how: Any) -> None:
        from medclm.eval.local import Answerer

        self.answerer = Answerer(**how)

    def __call__(self, batch: pa.Table) -> pa.Table:
        windows = [pickle.loads(data) for data in batch["window"].to_pylist()]
        replies = [pickle.dumps(self.answerer.answer(window)) for window in windows]
        return pa.table({"place": batch["place"], "replies": pa.array(replies, pa.large_binary())})


def answer_windows(windows: Sequence[Window], keep: Keep, actors: int | None, how: dict[str, Any]) -> dict[str, Any]:
    """Answers all windows on the Ray that is there, else on a local one that ends with this call.

    Args:
        windows: pictures by bytes travel with them; pictures by address must be readable where the actors run.
        keep: called in this process.
        actors: copies of the model; None: one a GPU, or one that has all CPUs of its machine.
        how: arguments of :class:`medclm.eval.local.Answerer`.

    Returns:
        What was used: ``actors``, ``gpus`` and ``threads`` of each.

    Raises:
        UsageError: more actors than the cluster has CPUs or GPUs.
    """
    with session.ray_session():
        import ray

        used = _resources(ray.cluster_resources(), actors)
        table = pa.table(
            {
                "place": list(range(len(windows))),
                "window": pa.array([pickle.dumps(window) for window in windows], pa.large_binary()),
            }
        )
        with session.ordered_data():
            ray.data.DataContext.get_current().execution_options.preserve_order = False
            rows: ray.data.Dataset = ray.data.from_arrow([table.slice(at, 1) for at in range(len(table))])
            rows = rows.map_batches(
                AnswerWindows,
                fn_constructor_kwargs=how | {"threads": used["threads"]},
                compute=ray.data.ActorPoolStrategy(size=used["actors"]),
                batch_size=1,
                batch_format="pyarrow",
                num_gpus=used["gpus"] or None,
            )
            for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in batch.to_pylist():  # type: ignore[union-attr]
                    keep(row["place"], pickle.loads(row["replies"]))
    return used


def _resources(cluster: dict[str, float], actors: int | None) -> dict[str, Any]:
    gpus = int(cluster.get("GPU", 0))
    count = actors or max(1, gpus)
    room = gpus or int(cluster.get("CPU", 1))
    if count > room:
        raise UsageError("the cluster has no room for so many actors", expected=f"at most {room}", got=count)
    threads = None if gpus else max(1, (os.cpu_count() or 1) // count)
    return {"actors": count, "gpus": 1 if gpus else 0, "threads": threads}

"""Where answers come from: a model through its predictor, or a file of predictions made elsewhere.

A source has ``info`` (goes into eval.json), ``sees_images`` (False: controls on the image make no sense) and
``predict(requests, items)``, which returns one Prediction a request, or None where it has no answer to that item.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medclm.data.records import Step
from medclm.errors import MedclmError, UsageError
from medclm.eval.benchmarks import Item

if TYPE_CHECKING:
    import PIL.Image

    from medclm.serve.predictor import Prediction, Request

Progress = Callable[[int, int, str], None]
"""(done, total, what is being done)."""


class Source(Protocol):
    """See the module."""

    info: dict[str, Any]
    sees_images: bool

    def predict(self, requests: Sequence[Request], items: Sequence[Item]) -> list[Prediction | None]: ...


class ModelSource:
    """A predictor: anything with ``predict(list[Request]) -> list[Prediction]`` and ``info``."""

    sees_images = True

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self.info = dict(getattr(predictor, "info", {}))

    def predict(self, requests: Sequence[Request], items: Sequence[Item]) -> list[Prediction | None]:
        return list(self._predictor.predict(list(requests)))


class FileSource:
    """Predictions in a ``.parquet`` or ``.jsonl`` file, such as the predictions.parquet of an earlier run.

    Columns: ``id`` (of the question) and ``answer`` or ``text`` (then the answer is what follows the last "Answer:",
    or all of it). Optional: ``predicted_boxes`` (list of [x1, y1, x2, y2] pixels), ``confidence``, ``parsed``.

    Raises:
        UsageError: the file is missing, of another type, or lacks the columns. MedclmError: it cannot be read.
    """

    sees_images = False

    def __init__(self, path: str | Path) -> None:
        rows = _read_table(Path(path))
        if rows and ("id" not in rows[0] or not {"answer", "text"} & set(rows[0])):
            raise UsageError(
                "a predictions file lacks columns", where=path, expected="id and answer (or text)", got=sorted(rows[0])
            )
        self._rows = {str(row["id"]): row for row in rows}
        self.info = {"family": "predictions file", "file": str(path), "predictions": len(self._rows)}

    def predict(self, requests: Sequence[Request], items: Sequence[Item]) -> list[Prediction | None]:
        return [self._prediction(self._rows.get(item.id)) for item in items]

    def _prediction(self, row: dict[str, Any] | None) -> Prediction | None:
        from medclm.serve.predictor import Prediction

        if row is None or (row.get("answer") is None and row.get("text") is None):
            return None
        text = str(row.get("text") or "")
        answer = str(row["answer"]) if row.get("answer") is not None else text.rpartition("Answer:")[2].strip()
        steps = tuple(Step(step="", text="", box_xyxy=tuple(box)) for box in row.get("predicted_boxes") or ())
        return Prediction(
            text=text or answer,
            answer=answer,
            confidence=float(row.get("confidence") or 0.0),
            steps=steps,
            parsed=row.get("parsed") is not False and bool(answer),
        )


def _read_table(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError("the predictions file does not exist", where=path)
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise MedclmError("the predictions file cannot be read", where=path, got=error) from error


def open_source(model: str | Path, predictor: Any = None) -> Source:
    """The source that ``--model`` names: a given predictor, a predictions file, or an exported model directory."""
    if predictor is not None:
        return ModelSource(predictor)
    if Path(model).suffix in (".parquet", ".jsonl"):
        return FileSource(model)
    from medclm.serve.predictor import Predictor

    return ModelSource(Predictor(model))


def open_picture(item: Item) -> PIL.Image.Image:
    """The item's picture as displayed, 8 bits, "L" or "RGB", by the same two calls that serving makes.

    Raises:
        MedclmError: it is missing or cannot be decoded.
    """
    import PIL.Image

    from medclm.data.images import read_picture, render

    if item.image is None:
        raise MedclmError("the picture is missing", where=item.image_id, got=item.problem or None)
    values, _ = render(read_picture(item.image, item.image_id))
    return PIL.Image.fromarray(values)


@dataclass(frozen=True)
class Job:
    """One question to ask. Jobs with equal ``picture`` and question are asked once and share the answer.

    Attributes:
        item: the question.
        picture: names the picture; jobs are sorted by it, so that those that share one are in one batch.
        open: makes the picture; called once for a run of jobs that share it.
    """

    item: Item
    picture: Hashable
    open: Callable[[], PIL.Image.Image]


def answer_all(
    source: Source, jobs: Sequence[Job], mode: str, batch_size: int, progress: Progress | None = None, what: str = ""
) -> tuple[list[Prediction | None], float]:
    """The prediction of every job, in order, and the seconds that the source took.

    Distinct jobs are sorted by picture, then by length of the question: a batch shares pictures and pads little.
    """
    from medclm.serve.predictor import Request

    def key_of(job: Job) -> tuple[Hashable, str]:
        return job.picture, job.item.question if source.sees_images else job.item.id  # a file answers by id

    distinct = {key_of(job): job for job in jobs}
    order = sorted(distinct, key=lambda key: (str(key[0]), len(key[1]), key[1]))
    answers: dict[Hashable, Prediction | None] = {}
    seconds, last, image = 0.0, None, None
    for start in range(0, len(order), batch_size):
        keys = order[start : start + batch_size]
        requests = []
        for key in keys:
            if image is None or key[0] != last:
                last, image = key[0], distinct[key].open()
            requests.append(Request(image=image, question=distinct[key].item.question, mode=mode))  # type: ignore[arg-type]
        began = time.perf_counter()
        predictions = source.predict(requests, [distinct[key].item for key in keys])
        seconds += time.perf_counter() - began
        answers |= dict(zip(keys, predictions, strict=True))
        if progress:
            progress(min(start + batch_size, len(order)), len(order), what)
    return [answers[key_of(job)] for job in jobs], seconds

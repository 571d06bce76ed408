"""Where answers come from: a local model, an OpenAI-compatible endpoint, or a file of predictions made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from medclm import storage
from medclm.data.records import Step
from medclm.errors import MedclmError, UsageError
from medclm.eval.asks import Window
from medclm.eval.endpoint import Endpoint
from medclm.eval.replies import Reply, failed
from medclm.serve.predictor import Prediction

Progress = Callable[[int, int, str], None]
"""(done, total, what is being done)."""
Keep = Callable[[int, list[Reply]], None]
"""Gets the replies of a window by its place, as soon as they are there."""
FILES = (".parquet", ".jsonl", ".csv")


class Source(Protocol):
    """
    Attributes:
        info: for eval.json.
        identity: what answers depend on beside the ask and the decoding; None where they need not be kept.
        sees_images: False for answers that do not depend on the picture shown: controls on it make no sense.
        without_picture: whether it can be asked with no picture at all.
        inside: whether its attention can be measured.
    """

    info: dict[str, Any]
    identity: dict[str, Any] | None
    sees_images: bool
    without_picture: bool
    inside: bool

    def answer(self, windows: Sequence[Window], keep: Keep) -> None: ...


class PredictorSource:
    """A predictor in this process: anything with ``predict(list[Request]) -> list[Prediction]``, or a directory."""

    sees_images = True

    def __init__(self, model: Any, how: dict[str, Any], keep_answers: bool) -> None:
        from medclm.eval.local import Answerer, has_weights

        self._answerer = Answerer(model, **how)
        predictor = self._answerer.predictor
        self.inside = self.without_picture = has_weights(predictor)
        self.info = dict(getattr(predictor, "info", {})) | {"actors": 0}
        self.identity = model_identity(model) if keep_answers else None

    def answer(self, windows: Sequence[Window], keep: Keep) -> None:
        for place, window in enumerate(windows):
            keep(place, self._answerer.answer(window))


class PoolSource:
    """An exported model directory, loaded by Ray actors."""

    sees_images = without_picture = inside = True

    def __init__(self, model_dir: str, how: dict[str, Any], actors: int | None) -> None:
        from medclm.serve.predictor import check_model_dir

        check_model_dir(model_dir)
        self._how, self._actors = {"model": str(Path(model_dir).resolve()), **how}, actors
        self.info = storage.read_json(storage.join(model_dir, "medclm.json"))
        self.identity: dict[str, Any] | None = model_identity(model_dir)

    def answer(self, windows: Sequence[Window], keep: Keep) -> None:
        from medclm.eval.pool import answer_windows

        self.info |= answer_windows(windows, keep, self._actors, self._how)


class EndpointSource:
    """See :mod:`medclm.eval.endpoint`."""

    sees_images = without_picture = True
    inside = False

    def __init__(self, endpoint: Endpoint, mode: str, max_new_tokens: int) -> None:
        from medclm.eval.endpoint import INSTRUCTION, Chat

        self._chat, self._mode, self._max_new_tokens = Chat(endpoint), mode, max_new_tokens
        self.info: dict[str, Any] = dict(self._chat.info)
        if not self._chat.ours:
            self.info["system_message"] = INSTRUCTION[mode]
            self.info["box_units"] = endpoint.box_units
        self.identity: dict[str, Any] | None = dict(self.info)

    def answer(self, windows: Sequence[Window], keep: Keep) -> None:
        from medclm.eval.endpoint import answer_windows

        answer_windows(self._chat, windows, keep, self._mode, self._max_new_tokens)


class FileSource:
    """Predictions in a ``.parquet``, ``.jsonl`` or ``.csv`` file, such as the predictions.parquet of an earlier run.

    Columns: ``id`` (of the question) and ``answer`` or ``text`` (then the answer is what follows the last "Answer:",
    or all of it). Optional: ``predicted_boxes`` (list of [x1, y1, x2, y2] pixels), ``steps`` (list of step, text,
    box_xyxy), ``confidence``, ``parsed``.

    Raises:
        UsageError: the file is missing, of another type, or lacks the columns. MedclmError: it cannot be read.
    """

    sees_images = without_picture = inside = False
    identity: dict[str, Any] | None = None

    def __init__(self, path: str | Path) -> None:
        rows = _read_table(Path(path))
        if rows and ("id" not in rows[0] or not {"answer", "text"} & set(rows[0])):
            raise UsageError(
                "a predictions file lacks columns", where=path, expected="id and answer (or text)", got=sorted(rows[0])
            )
        self._rows = {str(row["id"]): row for row in rows if isinstance(row, dict) and "id" in row}
        self.info = {"family": "predictions file", "file": str(path), "predictions": len(self._rows)}
        if len(self._rows) < len(rows):
            self.info["rows_with_an_id_used_before_or_none"] = len(rows) - len(self._rows)

    def answer(self, windows: Sequence[Window], keep: Keep) -> None:
        for place, window in enumerate(windows):
            keep(place, [self._reply(ask.item) for ask in window.asks])

    def _reply(self, item: str) -> Reply:
        row = self._rows.get(item)
        if row is None:
            return failed("the file has no row with this id")
        if row.get("answer") is None and row.get("text") is None:
            return failed(str(row.get("reason") or "the file's row has neither answer nor text"))
        text = str(row.get("text") or "")
        answer = str(row["answer"]) if row.get("answer") is not None else text.rpartition("Answer:")[2].strip()
        boxed = [Step(step="", text="", box_xyxy=tuple(box)) for box in row.get("predicted_boxes") or ()]
        told = [Step.model_validate(step) for step in row.get("steps") or ()]
        parsed = row.get("parsed") is not False and bool(answer)
        return Reply(
            Prediction(text or answer, answer, float(row.get("confidence") or 0), tuple(told or boxed), parsed)
        )


def _read_table(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError("the predictions file does not exist", where=path)
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        if path.suffix == ".csv":
            text = pyarrow.csv.ConvertOptions(column_types={"id": pa.string(), "answer": pa.string()})
            return pyarrow.csv.read_csv(path, convert_options=text).to_pylist()
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise MedclmError("the predictions file cannot be read", where=path, got=error) from error


def model_identity(model_dir: str | Path) -> dict[str, Any]:
    """What changes when an exported model does: its description, and size and time of its weights."""
    folder = Path(model_dir).resolve()
    weights = sorted(file for file in folder.rglob("*") if file.suffix in (".safetensors", ".bin"))
    stamps = [[str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns] for file in weights]
    return {"model": json.loads((folder / "medclm.json").read_text()), "weights": stamps}


def open_source(
    model: str | Path,
    mode: str,
    max_new_tokens: int,
    batch_size: int,
    predictor: Any = None,
    actors: int | None = None,
    endpoint: Endpoint | None = None,
) -> Source:
    """The source that ``--model`` names: a predictions file, the address of an endpoint, or an exported model.

    Args:
        predictor: used in place of loading ``model``.
        actors: Ray actors for a model directory; 0 loads it in this process, None is one a GPU, or one.
        endpoint: how an endpoint is asked; its address is ``model``.
    """
    how = {"mode": mode, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    if predictor is not None:
        return PredictorSource(predictor, how, keep_answers=False)
    if str(model).startswith(("http://", "https://")):
        import dataclasses

        asked = dataclasses.replace(endpoint or Endpoint(str(model)), url=str(model))
        return EndpointSource(asked, mode, max_new_tokens)
    if Path(model).suffix in FILES:
        return FileSource(model)
    if actors == 0:
        return PredictorSource(str(model), how, keep_answers=True)
    return PoolSource(str(model), how, actors)

"""What came back for each ask, and where it is kept until the evaluation is done.

::

    OUT/answers/FINGERPRINT/WINDOW.parquet   the replies of one window (medclm.eval.asks); written when it is answered
    OUT/answers/FINGERPRINT/manifest.json    how many windows and replies; written last

FINGERPRINT is of the model and its decoding, and each reply carries a hash of the picture and the question: an
evaluation that is run again, also with another limit or other controls, asks only what it has no answer to. Failed asks
(an endpoint that timed out) are asked again, broken pictures are looked at again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from medclm import storage
from medclm.data.records import Step
from medclm.eval.asks import Ask, Plan, Window
from medclm.serve.predictor import Prediction

Status = Literal["ok", "broken-image", "no-prediction"]


@dataclass(frozen=True)
class Reply:
    """What came back for one ask.

    Attributes:
        prediction: None unless ``status`` is "ok".
        reason: why there is none, in words.
        attention: mean attention mass inside the boxes, 0 to 1; None where it was not measured.
        attention_even: what evenly spread attention would have there.
    """

    prediction: Prediction | None
    status: Status = "ok"
    reason: str = ""
    attention: float | None = None
    attention_even: float | None = None


def broken(reason: str) -> Reply:
    """The picture cannot be shown."""
    return Reply(None, "broken-image", reason)


def failed(reason: str) -> Reply:
    """The source gave no answer."""
    return Reply(None, "no-prediction", reason)


_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("name", "item", "picture", "question", "status", "reason")]
    + [(name, pa.string()) for name in ("text", "answer", "finish")]
    + [(name, pa.float64()) for name in ("confidence", "attention", "attention_even")]
    + [("parsed", pa.bool_()), ("steps", pa.string())]
    + [(name, pa.int64()) for name in ("prompt_tokens", "completion_tokens")]
)


class Answers:
    """The folder of one model's answers.

    Args:
        out: the evaluation's directory, any fsspec address.
        identity: everything that answers depend on beside what is asked.
    """

    def __init__(self, out: str, identity: dict[str, Any]) -> None:
        self.folder = storage.join(out, "answers", storage.fingerprint(identity))
        self._identity = identity

    def load(self) -> dict[str, Reply]:
        """The replies that are there, by the name of their ask; failed ones are left out."""
        found: dict[str, Reply] = {}
        for file in storage.list_files(self.folder, "*.parquet"):
            rows = pq.read_table(io.BytesIO(storage.read_bytes(file))).to_pylist()
            found |= {row["name"]: _reply(row) for row in rows if row["status"] == "ok"}
        return found

    def keep(self, window: Window, replies: Sequence[Reply]) -> None:
        """Stores the replies to a window."""
        rows = [
            {"name": name, **_row(ask, reply)}
            for name, ask, reply in zip(window.names, window.asks, replies, strict=True)
        ]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), buffer, compression="zstd")
        storage.write_atomic(storage.join(self.folder, f"{window.name}.parquet"), buffer.getvalue())

    def finish(self, windows: Sequence[Window]) -> None:
        """Writes the manifest."""
        manifest = {"of": self._identity, "windows": len(windows), "asks": sum(len(w.asks) for w in windows)}
        storage.publish_json(storage.join(self.folder, "manifest.json"), manifest)


def remaining(window: Window, known: Container[str]) -> Window:
    """The window without the asks that have a reply."""
    left = [(ask, name) for ask, name in zip(window.asks, window.names, strict=True) if name not in known]
    shown = {ask.picture for ask, _ in left}
    pictures = tuple(picture for picture in window.pictures if picture.name in shown)
    return Window(pictures, tuple(ask for ask, _ in left), tuple(name for _, name in left))


def by_ask(plan: Plan, windows: Sequence[Window], replies: Mapping[str, Reply]) -> list[Reply]:
    """Replies in the order of ``plan.asks``. ``replies``: by the name of their ask."""
    names = {ask: name for window in windows for ask, name in zip(window.asks, window.names, strict=True)}
    return [replies[names[ask]] for ask in plan.asks]


def _row(ask: Ask, reply: Reply) -> dict[str, Any]:
    row: dict[str, Any] = {
        "item": ask.item, "picture": ask.picture, "question": ask.question, "status": reply.status,
        "reason": reply.reason, "attention": reply.attention, "attention_even": reply.attention_even,
    }  # fmt: skip
    said = reply.prediction
    if said is None:
        return row
    return row | {
        "text": said.text, "answer": said.answer, "finish": said.finish, "confidence": said.confidence,
        "parsed": said.parsed, "prompt_tokens": said.prompt_tokens, "completion_tokens": said.completion_tokens,
        "steps": json.dumps([step.model_dump(mode="json") for step in said.steps], ensure_ascii=False),
    }  # fmt: skip


def _reply(row: dict[str, Any]) -> Reply:
    names = ("text", "answer", "finish", "confidence", "parsed", "prompt_tokens", "completion_tokens")
    steps = tuple(Step.model_validate(step) for step in json.loads(row["steps"]))
    said = Prediction(steps=steps, **{name: row[name] for name in names})
    return Reply(said, row["status"], row["reason"], row["attention"], row["attention_even"])

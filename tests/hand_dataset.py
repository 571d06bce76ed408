"""Rows made by hand, a built dataset of them, and a predictor that follows a rule."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from medclm.data import shards
from medclm.data.records import Finding, Image, Question, Record, Source, Step
from medclm.data.rejects import Reject

SIDE = 128


def png(image: PilImage.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def make_record(n: int, split: str, has_nodule: bool, patient: str | None = None) -> Record:
    """A grey square; with a nodule a white disc in ``box``, left for even n. Four questions, three without a nodule."""
    left = n % 2 == 0
    box = (80.0, 40.0 + n, 100.0, 60.0 + n) if left else (20.0, 40.0 + n, 40.0, 60.0 + n)
    picture = PilImage.new("L", (SIDE, SIDE), 40 + n)
    findings: tuple[Finding, ...] = ()
    steps = [Step(step="view", text="This is a frontal radiograph.")]
    if has_nodule:
        ImageDraw.Draw(picture).ellipse((box[0], box[1], box[2] - 1, box[3] - 1), fill=220)
        side = "left" if left else "right"
        findings = (
            Finding(id=f"f{n}", label="nodule", label_raw="Nodule", box_xyxy=box, organ=f"{side}_lung", side=side),
        )
        steps.insert(0, Step(step="seed", text=f"There is a nodule in the {side} lung.", box_xyxy=box))
        organ_box = (64.0, 20.0, 120.0, 110.0) if left else (8.0, 20.0, 64.0, 110.0)
        steps.append(Step(step="organ", text=f"It lies in the {side} lung.", box_xyxy=organ_box))
    name, ids = f"im{n:02d}", tuple(finding.id for finding in findings)

    def question(kind: str, text: str, answer: str, choices: tuple[str, ...] | None = None) -> Question:
        return Question(
            id=f"{name}:{kind}", type=kind, question=text, answer=answer, closed=choices is not None, choices=choices,
            reasoning=tuple(steps), finding_ids=ids,
        )  # fmt: skip

    questions = [
        question("is-there", "Is there a nodule?", "yes" if has_nodule else "no", ("yes", "no")),
        question("how-many", "How many findings are there?", str(len(findings))),
        question("what", "What is seen?", "nodule" if has_nodule else "no abnormality"),
    ]
    if has_nodule:
        questions.append(question("side", "On which side?", "left" if left else "right", ("left", "right")))
    return Record(
        image_id=name, patient_id=patient or f"p{n:02d}", dataset="hand", split=split, modality="CR", plane="frontal",
        image=Image(bytes=png(picture), format="png", width=SIDE, height=SIDE), source=Source(uri=name, reader="hand"),
        findings=findings, questions=tuple(questions),
    )  # fmt: skip


def write_dataset(folder: Path, records: list[Record], rejects: list[Reject] | None = None) -> str:
    shards.write_shard(str(folder), 0, records, rejects or [])
    shards.write_manifest(str(folder), {})
    return str(folder)


class RulePredictor:
    """Sees a nodule where the picture has bright pixels, and answers by it; its box is that of the bright pixels."""

    def __init__(self) -> None:
        self.info = {"family": "rule"}
        self.batches: list[int] = []

    def predict(self, requests):
        self.batches.append(len(requests))
        return [self.answer(request) for request in requests]

    def answer(self, request):
        from medclm.serve.predictor import Prediction

        rows, cols = np.nonzero(np.asarray(request.image.convert("L")) > 200)
        steps: tuple[Step, ...] = ()
        if len(rows):
            box = (float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1))
            steps = (Step(step="seed", text="There is a nodule.", box_xyxy=box),)
        side = "left" if len(cols) and cols.mean() > SIDE / 2 else "right"
        answers = {
            "Is there a nodule?": "yes" if steps else "no",
            "How many findings are there?": "one" if steps else "zero",
            "What is seen?": "a nodule" if steps else "no abnormality",
            "On which side?": side,
        }
        said = answers.get(request.question, "")
        text = f"Reasoning:\nAnswer: {said}"
        return Prediction(text=text, answer=said, confidence=0.9, steps=steps, parsed=bool(said))

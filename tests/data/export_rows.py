"""Rows for the tests of the exports: every shape of entry there is."""

from __future__ import annotations

from medclm.data.records import Prior, Question, Record, Step
from tests.data.helpers import linked_nodule, record

BOX = (12.0, 3.0, 15.0, 6.0)


def ask(image_id: str, kind: str, text: str, answer: str, choices: tuple[str, ...] | None = None, **more) -> Question:
    return Question(
        id=f"{image_id}:{kind}", type=kind, question=text, answer=answer, closed=choices is not None, choices=choices,
        **more,
    )  # fmt: skip


def make(image_id: str, split: str) -> Record:
    """One nodule, an earlier image, and four questions: with reasoning, yes/no, of a VQA source, about change."""
    one = record([linked_nodule()], image_id=image_id, patient_id=f"p-{image_id}", split=split)
    steps = (
        Step(step="seed", text="There is a nodule.", box_xyxy=BOX),
        Step(step="knowledge", text="Nodules are at most 3 cm.", facts=("nodule/size",)),
    )
    questions = (
        ask(image_id, "what", "What is seen?", "nodule", reasoning=steps, finding_ids=("img:1",), difficulty=2),
        ask(image_id, "is-there", "Is there a mass?", "no", ("yes", "no")),
        ask(image_id, "vqa", "What is this?", "a lung", ("a lung", "a knee")),
        ask(image_id, "follow-up", "Has the nodule changed?", "new", reasoning=steps[:1], difficulty=3),
    )
    earlier = record([]).image.model_copy(update={"format": "png"})
    prior = Prior(image_id=f"{image_id}-0", uri="earlier.png", days=30, image=earlier)
    return one.model_copy(update={"questions": questions, "prior": prior})

"""Datasets of ``medclm data build`` as a benchmark: the questions of held-out patients."""

from __future__ import annotations

from medclm.eval.benchmarks import Benchmark, Item
from medclm.eval.grounding import CONTEXT_STEPS


def load(directory: str, split: str = "") -> Benchmark:
    """The questions of a split (test unless said) that one picture answers."""
    from medclm.data.shards import read_records
    from medclm.train.views import evidence_boxes

    split = split or "test"
    items: list[Item] = []
    train: list[tuple[str, str]] = []
    for record in read_records(directory):
        if record.split == "train":
            train += [(question.type, question.answer) for question in record.single_picture_questions]
        if record.split != split:
            continue
        bare = record.model_copy(update={"image": None, "prior": None})
        for question in record.single_picture_questions:
            lesions, evidence = evidence_boxes(record, question)
            hosts = {f.organ for f in record.findings if f.id in question.finding_ids and f.organ}
            items.append(
                Item(
                    id=question.id,
                    image_id=record.image_id,
                    patient_id=record.patient_id,
                    image=record.image.bytes if record.image else None,
                    question=question.question,
                    answer=question.answer,
                    type=question.type,
                    closed=question.closed,
                    choices=question.choices,
                    boxes=evidence,
                    ignore_steps=CONTEXT_STEPS if lesions else frozenset(),
                    problem="" if record.image else "the row has no picture",
                    organ=hosts.pop() if len(hosts) == 1 else "",
                    modality=record.modality,
                    origin=(bare, question),
                )
            )
    return Benchmark(
        "medclm", directory, tuple(items), tuple(train), "patient", (f"held-out patients ({split} split)",)
    )

"""Knowledge questions as drafts: what the picture shows decides which fact of the base is asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator

from medclm.data.knowledge.ask import knowledge_questions
from medclm.data.questions.draft import Draft
from medclm.data.rationale import conclusion_step, seed_step, view_step
from medclm.data.records import Record


def about_knowledge(record: Record, rng: random.Random) -> Iterator[Draft]:
    """Drafts of type ``knowledge`` about the findings; the yes and the no of a sign come one after the other."""
    for asked in knowledge_questions(record.findings, rng):
        steps = (
            *(seed_step(finding) for finding in asked.findings),
            view_step(record),
            *asked.steps,
            conclusion_step(f"The answer is {asked.answer}."),
        )
        yield Draft(
            "knowledge", asked.answer, steps, asked.findings, asked.choices, asked.blanks,
            wording=f"knowledge_{asked.kind}", distractors=asked.distractors,
        )  # fmt: skip

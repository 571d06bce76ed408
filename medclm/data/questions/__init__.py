"""Balanced questions about one record, each with its answer and its reasoning.

What is asked is a pure function of (record, catalogue, seed); wordings live in ``templates.yaml``. At least as many
presence questions are answered "no" as "yes", images without findings are asked about too, and so is normal anatomy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from medclm.data.questions.draft import Catalogue, Draft, templates
from medclm.data.questions.follow_up import about_change
from medclm.data.questions.knowledge import about_knowledge
from medclm.data.questions.labels import about_labels
from medclm.data.questions.lesions import about_findings
from medclm.data.questions.normal import about_anatomy, about_body_part, about_normality, about_view
from medclm.data.questions.presence import NO_FINDING, about_presence, about_whole
from medclm.data.records import Question, QuestionType, Record

__all__ = ["NO_FINDING", "Catalogue", "Draft", "ask", "templates"]

CHOICES = 4
"""Options of a multiple-choice question."""
INFERENCES: dict[QuestionType, int] = {
    "what": 1, "is-there": 1, "view": 1, "body-part": 1, "vqa": 1,
    "organ": 2, "side": 2, "zone": 2, "which-organ": 2, "attribute": 2, "size": 2, "is-normal": 2, "how-many": 2,
    "which-is-larger": 3, "relation": 3, "knowledge": 3, "follow-up": 3,
}  # fmt: skip
"""Difficulty of a type on an easy picture: how many inferences lead from the picture to the answer."""
SMALL_SHARE = 0.01
"""A lesion below this share of the picture makes its questions harder by one."""


def ask(
    record: Record,
    catalogue: Catalogue,
    *,
    seed: int,
    limit: int,
    complete: bool = True,
    choices_share: float = 0.0,
    types: tuple[str, ...] = (),
) -> tuple[Question, ...]:
    """The questions of one linked record.

    Args:
        record: with organs and linked findings; questions that it already has (a VQA source's, of type ``vqa``) count.
        catalogue: of the whole dataset.
        seed: of the build; the same seed gives the same questions.
        limit: at most this many questions. Types are kept in turn, so that none is crowded out.
        complete: False when some finding of the image was set aside; then nothing is asked that counts on absence.
        choices_share: share of the open questions that become multiple choice, where wrong answers are known.
        types: only these question types; empty for all.
    """
    rng = random.Random(f"{seed}/{record.image_id}")
    drafts = [draft for draft in _drafts(record, catalogue, rng, complete) if not types or draft.type in types]
    own = tuple(question for question in record.questions if not types or question.type in types)
    kept, taken = _kept(drafts, max(limit - len(own), 0), rng), len(record.questions)
    worded = [_worded(record, _with_choices(draft, choices_share, rng), rng, taken + n) for n, draft in enumerate(kept)]
    return (*own, *worded)


def _drafts(record: Record, catalogue: Catalogue, rng: random.Random, complete: bool) -> Iterator[Draft]:
    yield from about_findings(record, catalogue)
    yield from about_anatomy(record, rng)
    yield from about_view(record, catalogue)
    yield from about_body_part(record, catalogue)
    yield from about_knowledge(record, rng)
    yield from about_labels(record, catalogue, rng)
    if complete:
        yield from about_presence(record, catalogue, rng)
        if not record.labels:  # a label without a box is a finding that counts and "nothing" do not know of
            yield from about_whole(record)
        yield from about_normality(record, rng)
        yield from about_change(record)


def _kept(drafts: list[Draft], limit: int, rng: random.Random) -> list[Draft]:
    """At most ``limit`` drafts: one of each type in turn; the yes and the no of a wording stay or leave together."""
    groups: dict[str, list[list[Draft]]] = {}
    for unit in _units(drafts):
        groups.setdefault(unit[0].type, []).append(unit)
    for group in groups.values():
        rng.shuffle(group)
    queue = [groups[kind] for kind in sorted(groups)]
    rng.shuffle(queue)
    chosen: list[Draft] = []
    while queue and len(chosen) < limit:
        group = queue.pop(0)
        if len(chosen) + len(group[0]) <= limit:
            chosen += group[0]
            if group[1:]:
                queue.append(group[1:])
    return chosen


def _units(drafts: list[Draft]) -> list[list[Draft]]:
    """Drafts that belong together: the yes and the no of one thing; every other draft alone."""
    units: dict[object, list[Draft]] = {}
    for n, draft in enumerate(drafts):
        units.setdefault(_pair(draft) or n, []).append(draft)
    return list(units.values())


def _pair(draft: Draft) -> tuple | None:
    """What the yes and the no of a presence question, or of a sign, have in common; None for any other draft."""
    if draft.type == "is-there":
        return ("is-there", draft.wording)
    if draft.wording == "knowledge_sign":
        return ("sign", tuple(fact for step in draft.reasoning for fact in step.facts))
    return None


def _with_choices(draft: Draft, share: float, rng: random.Random) -> Draft:
    """``draft`` as multiple choice with probability ``share``: the answer among its first distractors, shuffled."""
    wrong = [text for text in dict.fromkeys(draft.distractors) if text != draft.answer][: CHOICES - 1]
    if draft.choices is not None or len(wrong) < 2 or rng.random() >= share:
        return replace(draft, distractors=())
    options = [draft.answer, *wrong]
    rng.shuffle(options)
    return replace(draft, choices=tuple(options), distractors=tuple(options))


def _worded(record: Record, draft: Draft, rng: random.Random, n: int) -> Question:
    text = rng.choice(templates()[draft.wording or draft.type]).format(**dict(draft.blanks))
    if draft.distractors:
        text = f"{text} {rng.choice(templates()['options']).format(options=', '.join(draft.choices or ()))}"
    return Question(
        id=f"{record.image_id}:q{n}",
        type=draft.type,
        question=text,
        answer=draft.answer,
        closed=draft.choices is not None,
        choices=draft.choices,
        difficulty=difficulty(record, draft),
        reasoning=draft.reasoning,
        finding_ids=tuple(finding.id for finding in draft.findings),
    )


def difficulty(record: Record, draft: Draft) -> int:
    """1 to 3: the inferences of its type, one more where the lesion is small or one of several findings."""
    crowded = len(record.findings) > 1 and bool(draft.findings)
    small = False
    if record.image is not None and draft.findings:
        boxes_xyxy = [finding.box_xyxy for finding in draft.findings]
        least = min((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes_xyxy)
        small = least < SMALL_SHARE * record.image.width * record.image.height
    return min(3, INFERENCES[draft.type] + int(crowded or small))

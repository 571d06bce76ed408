"""What is sent and how answers are read."""

from __future__ import annotations

import json

import pytest

from medclm.data.records import Question, Step
from medclm.data.rewrite.prompt import bundle_of, messages_of, read_answer
from tests.data.helpers import linked_nodule, record

WHERE = "Where is the nodule?"
STEPS = (Step(step="seed", text="There is a nodule."), Step(step="knowledge", text="A fact.", facts=("f.1",)))


def question(**more) -> Question:
    known = {"id": "q", "type": "organ", "question": "Where is the nodule?", "answer": "left lung", "closed": False}
    return Question(**{**known, "reasoning": STEPS, "finding_ids": ("img:1",), **more})


def test_a_bundle_leaves_out_steps_that_cite_facts():
    bundle = bundle_of(record([linked_nodule()]), question())
    assert bundle is not None
    assert [(r.kind, r.text, r.context) for r in bundle.requests] == [
        ("question", "Where is the nodule?", ("nodule",)),
        ("step", "There is a nodule.", ("nodule",)),
    ]
    assert (bundle.step_indices, bundle.tail) == ((0,), "")
    assert json.loads(messages_of(bundle)[-1]["content"]) == {
        "question": "Where is the nodule?",
        "steps": ["There is a nodule."],
    }


def test_questions_alone():
    bundle = bundle_of(record([linked_nodule()]), question(), with_steps=False)
    assert bundle is not None
    assert len(bundle.requests) == 1


@pytest.mark.parametrize(
    ("more", "head", "tail"),
    [
        ({"question": f"{WHERE} Options: left lung, heart."}, WHERE, " Options: left lung, heart."),
        (
            {"question": "Locate it. Which of these: left lung, heart?"},
            "Locate it.",
            " Which of these: left lung, heart?",
        ),
        ({"question": "Is it on the left or right?", "choices": ("left", "right")}, "Is it on the left or right?", ""),
    ],
)
def test_a_list_of_options_stays(more, head, tail):
    choices = {"choices": ("left lung", "heart"), "closed": True}
    bundle = bundle_of(record([linked_nodule()]), question(**{**choices, **more}))
    assert bundle is not None
    assert (bundle.requests[0].text, bundle.tail) == (head, tail)


@pytest.mark.parametrize(
    "more",
    [
        {"type": "knowledge"},
        {"type": "vqa", "generator": "source"},
        {"generator": "openai:other"},
        {"question": "Which of these is next to it: liver, heart?", "choices": ("liver", "heart"), "closed": True},
    ],
)
def test_what_is_never_reworded(more):
    assert bundle_of(record([linked_nodule()]), question(**more)) is None


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        ('{"question": "Q?", "steps": ["a", "b"]}', ["Q?", "a", "b"]),
        ('Sure!\n```json\n{"question": " Q? ", "steps": ["a\\nx", "b"]}\n```', ["Q?", "a x", "b"]),
        ('{"thought": 1} {"question": "Q?", "steps": ["a", "b"]} bye', ["Q?", "a", "b"]),
        ('{"answer": {"question": "Q?", "steps": ["a", "b"]}}', ["Q?", "a", "b"]),
        ('{"question": "Q?", "steps": ["a"]}', None),
        ('{"question": "Q?", "steps": ["a", 2]}', None),
        ('{"question": "Q?", "steps": "ab"}', None),
        ('{"question": "Q?", "steps": ["a", "b"', None),
        ('["Q?", "a", "b"]', None),
        ("no JSON { at all", None),
        ("", None),
    ],
)
def test_answers_are_read_or_refused_whole(answer, texts):
    assert read_answer(answer, 3) == texts

"""What goes into an entry of an export."""

from __future__ import annotations

import json

import pytest

from medclm.data.export_entry import fields, pictures, prompt, solution
from medclm.data.records import Record
from tests.data.export_rows import ask, make


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [make("a", "train"), make("b/1.2", "validate"), make("c", "test")]


def test_a_question_about_change_has_two_pictures(records):
    what, *_, change = records[0].questions
    assert [name for name, _ in pictures(records[0], what)] == ["a.png"]
    assert [name for name, _ in pictures(records[0], change)] == ["a-earlier.png", "a.png"]
    alone = records[0].model_copy(update={"prior": None})
    assert [name for name, _ in pictures(alone, change)] == ["a.png"]


def test_fields_keep_boxes_choices_and_facts(records):
    found = fields(records[0], records[0].questions[0])
    assert found["findings"] == [
        {"id": "img:1", "label": "nodule", "box_xyxy": [12, 3, 15, 6], "organ": "left_lung", "side": "left"}
    ]
    assert found["reasoning"][1] == {
        "step": "knowledge", "text": "Nodules are at most 3 cm.", "box_xyxy": [], "facts": ["nodule/size"],
    }  # fmt: skip
    assert (found["difficulty"], found["choices"], found["finding_ids"]) == (2, [], ["img:1"])
    assert json.loads(json.dumps(found)) == found


def test_prompt_names_choices_only_where_the_question_does_not():
    vqa = ask("a", "vqa", "Is it the lung or the knee?", "the lung", ("the lung", "the knee"))
    assert prompt(vqa) == "Is it the lung or the knee?"
    assert prompt(ask("a", "vqa", "Normal?", "yes", ("yes", "no"))) == "Normal?"
    assert prompt(ask("a", "side", "On which side?", "left", ("left", "right"))) == "On which side?"
    assert solution(vqa) == "Answer: the lung"

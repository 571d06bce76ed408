from __future__ import annotations

import pytest
from pydantic import ValidationError

from medclm.data.records import Question, Record
from tests.data.helpers import finding, linked_nodule, record


def test_a_record_survives_json_without_its_pixels():
    one = record([linked_nodule()])
    text = one.model_dump_json(exclude={"image": {"bytes"}})
    assert one.image.bytes.hex() not in text


@pytest.mark.parametrize(
    ("box_xyxy", "message"), [((5.0, 5.0, 5.0, 9.0), "x1 < x2"), ((0.0, 0.0, 21.0, 5.0), "outside the 20 x 20 picture")]
)
def test_a_box_must_have_an_area_and_lie_inside(box_xyxy, message):
    with pytest.raises(ValidationError, match=message):
        record([finding(box_xyxy=box_xyxy)])


def test_finding_ids_are_unique_and_questions_refer_to_them():
    with pytest.raises(ValidationError, match="repeat"):
        record([finding(), finding()])
    with pytest.raises(ValidationError, match="unknown findings"):
        record(questions=(Question(id="q", type="what", question="?", answer="a", closed=False, finding_ids=("x",)),))


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError, match="extra"):
        Record.model_validate({**record().model_dump(), "patient_name": "Doe"})


def test_a_question_about_two_pictures_is_not_one_for_a_single_picture():
    kinds = ("follow-up", "vqa", "follow-up", "side")
    questions = tuple(
        Question(id=f"q{n}", type=kind, question="?", answer="a", closed=False) for n, kind in enumerate(kinds)
    )
    one = record(questions=questions)
    assert [question.id for question in one.single_picture_questions] == ["q1", "q3"]

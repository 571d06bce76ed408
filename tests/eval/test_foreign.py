import json

import pytest

from medclm.data.records import Step
from medclm.eval.foreign import read_text, text_boxes
from medclm.serve.predictor import Prediction
from medclm.serve.schema import ModelOut, completion


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes", "Yes"),
        ("I see a lung. Answer: left lung.", "left lung"),
        ("**Answer:** left\nlung", "left lung"),
        ("Answer: a\nFinal answer: b", "b"),
        ("The answer is: 3", "3"),
        ("", ""),
    ],
)
def test_answer_of_a_text(text, answer):
    found = read_text(text, None, (10, 10))
    assert (found.answer, found.parsed) == (answer, bool(answer))


def test_own_replies_come_as_data():
    own = {
        "answer": "left",
        "confidence": 0.5,
        "parsed": True,
        "steps": [{"step": "seed", "text": "t", "box_xyxy": [1, 2, 3, 4]}],
    }
    found = read_text("Reasoning: …", own, (10, 10))
    assert (found.answer, found.confidence, found.steps[0].box_xyxy) == ("left", 0.5, (1.0, 2.0, 3.0, 4.0))


def test_what_our_server_sends_is_read_back_whole():
    step = Step(step="seed", text="There is a nodule.", box_xyxy=(1, 2, 3, 4))
    said = Prediction("Reasoning:\nseed: …\nAnswer: yes", "yes", 0.9, (step, Step(step="view", text="frontal")), True)
    sent = json.loads(json.dumps(completion("1", said, "reason", ModelOut(name="m", version="v"))))
    back = read_text(sent["choices"][0]["message"]["content"], sent["medclm"], (10, 10))
    assert (back.text, back.answer, back.steps, back.parsed) == (said.text, said.answer, said.steps, True)


@pytest.mark.parametrize(
    ("text", "units", "boxes"),
    [
        ("[10, 20, 30, 40]", "pixels", [(10.0, 20.0, 30.0, 40.0)]),
        ("at (10 20 30 40) and [10,20,30,40]", "pixels", [(10.0, 20.0, 30.0, 40.0)]),
        ("[100, 200, 300, 400]", "thousand", [(20.0, 20.0, 60.0, 40.0)]),
        ("[0.1, 0.2, 0.3, 0.4]", "unit", [(20.0, 20.0, 60.0, 40.0)]),
        ("[150, 50, 900, 900]", "pixels", [(150.0, 50.0, 200.0, 100.0)]),  # clipped to 200 x 100
        ("[30, 40, 10, 20] [1, 2, 3]", "pixels", []),
    ],
)
def test_boxes_of_a_text(text, units, boxes):
    assert text_boxes(text, (100, 200), units) == [pytest.approx(box) for box in boxes]


def test_a_text_of_brackets_is_read_in_no_time():
    assert text_boxes("[1 " * 50_000, (10, 10)) == []

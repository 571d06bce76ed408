import pytest

from medclm.data.records import Step
from medclm.eval.faithful import Verdict, follows, steps_true
from tests.hand_dataset import make_record


def step(name: str, text: str) -> Step:
    return Step(step=name, text=text)


@pytest.fixture
def left():
    """A record with a nodule in the left lung, and its question "what"."""
    record = make_record(10, "test", True)
    return record, next(question for question in record.questions if question.type == "what")


def test_the_reference_reasoning_is_true(left):
    record, question = left
    assert steps_true(record, question, question.reasoning) == Verdict(3, 3)


@pytest.mark.parametrize(
    ("name", "text", "is_true"),
    [
        ("seed", "There is a nodule in the left lung.", True),
        ("seed", "A nodule is in the left lung.", True),
        ("organ", "The left lung has a nodule.", True),  # another step's facts
        ("seed", "There is a nodule in the right lung.", False),
        ("seed", "There is a mass in the left lung.", False),
        ("seed", "There is no nodule in the left lung.", False),
        ("view", "This is an axial CT.", False),
        ("appearance", "It measures 12 mm.", False),
    ],
)
def test_a_step_is_held_against_the_record(left, name, text, is_true):
    record, question = left
    found = steps_true(record, question, [step(name, text)])
    assert (found.true, found.judged) == (int(is_true), 1)
    assert bool(found.fault) is not is_true


def test_steps_without_words_are_not_judged(left):
    assert steps_true(*left, [step("seed", " ")]) == Verdict(0, 0)


NODULE = [step("seed", "There is a nodule in the left lung.")]
NONE = [step("conclusion", "There is no nodule.")]
NORMAL = [step("conclusion", "No abnormality is seen.")]


@pytest.mark.parametrize(
    ("question", "steps", "answer", "expected"),
    [
        ("Is there a nodule?", NODULE, "yes", True),
        ("Is there a nodule?", NODULE, "no", False),
        ("Is there a nodule?", NONE, "no", True),
        ("Is there a nodule?", NORMAL, "No.", True),
        ("Is there a nodule?", NORMAL, "yes", False),
        ("Is there a mass?", NODULE, "yes", False),  # the steps are about something else
        ("On which side?", NODULE, "left", True),
        ("On which side?", NODULE, "right", False),
        ("How many?", [step("count", "There are two nodules.")], "2", True),
        ("What is seen?", [], "nodule", None),
        ("What is seen?", NODULE, "", None),
    ],
)
def test_the_answer_follows_from_the_steps(question, steps, answer, expected):
    assert follows(question, steps, answer) is expected

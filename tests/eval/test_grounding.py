import pytest

from medclm.data.records import Step
from medclm.eval.grounding import CONTEXT_STEPS, Grounding, ground, step_boxes, summarise

REF = (0.0, 0.0, 10.0, 10.0)


def test_same_box():
    assert ground([REF], [REF]) == Grounding(1.0, 1.0, 1.0, 1)


def test_half_a_box_is_a_hit():
    # the lower half: IoU 50 / 100; its centre (5, 7.5) is inside
    assert ground([(0, 5, 10, 10)], [REF]) == Grounding(0.5, 1.0, 1.0, 1)


def test_a_shifted_box():
    # overlap 2 x 10, union 180: IoU 1/9; its centre (13, 5) is outside
    assert ground([(8, 0, 18, 10)], [REF]) == Grounding(pytest.approx(1 / 9), 0.0, 0.0, 1)


def test_swapped_axes_miss():
    assert ground([(40, 0, 50, 10)], [(0, 40, 10, 50)]) == Grounding(0.0, 0.0, 0.0, 1)


def test_none_on_either_side():
    assert ground([], [REF]) == Grounding(0.0, 0.0, 0.0, 0)
    assert ground([REF], []) == Grounding(None, None, None, 1)
    assert ground([], []) == Grounding(None, None, None, 0)


def test_pairing_takes_the_best_sum_and_not_the_first_best():
    a, b = (0.0, 0.0, 10.0, 10.0), (4.0, 0.0, 14.0, 10.0)
    p, q = (2.0, 0.0, 12.0, 10.0), (-6.0, 0.0, 4.0, 10.0)
    # IoU(p, a) = 80/120 = IoU(p, b); IoU(q, a) = 40/160; IoU(q, b) = 0. Taking p-a first would leave q with nothing.
    assert ground([p, q], [a, b]).iou == pytest.approx((2 / 3 + 1 / 4) / 2)


def test_one_box_for_two_findings_is_half_right():
    assert ground([REF], [REF, (50, 50, 60, 60)]) == Grounding(0.5, 0.5, 0.5, 1)


def test_more_boxes_than_findings():
    assert ground([(50, 50, 60, 60), REF, (70, 70, 80, 80)], [REF]) == Grounding(1.0, 1.0, 1.0, 3)


def test_boxes_of_steps():
    steps = [
        Step(step="seed", text="", box_xyxy=REF),
        Step(step="view", text=""),
        Step(step="organ", text="", box_xyxy=(0, 0, 90, 90)),
        Step(step="appearance", text="", box_xyxy=REF),
        Step(step="relation", text="", box_xyxy=(5, 5, 5, 9)),
    ]
    assert step_boxes(steps) == (REF, (0, 0, 90, 90))
    assert step_boxes(steps, CONTEXT_STEPS) == (REF,)


def test_summary_counts_what_was_not_there():
    results = [
        Grounding(1.0, 1.0, 1.0, 1),
        Grounding(0.0, 0.0, 0.0, 0),
        Grounding(None, None, None, 2),
        Grounding(None, None, None, 0),
    ]
    found = summarise(results, ["a", "b", "c", "d"])
    assert (found["questions"], found["without_predicted_box"], found["unexpected_boxes"]) == (2, 1, 1)
    assert found["mean_iou"]["value"] == found["acc_50"]["value"] == found["pointing"]["value"] == 0.5
    assert found["boxes_per_answer"] == 3 / 4
    assert summarise([], [])["mean_iou"]["value"] is None

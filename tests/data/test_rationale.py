from __future__ import annotations

from medclm.data import rationale
from medclm.data.records import UNCLEAR, Step
from tests.data.helpers import LEFT_LUNG, finding, linked_nodule, record


def test_all_steps_of_one_finding():
    nodule = linked_nodule()
    steps = rationale.explain(record([nodule]), nodule, "The finding is a nodule.")
    assert steps == (
        Step(step="seed", text="There is a nodule in the left lung.", box_xyxy=nodule.box_xyxy),
        Step(step="view", text="This is a frontal radiograph."),
        Step(step="organ", text="It lies in the left lung, upper zone.", box_xyxy=LEFT_LUNG),
        Step(
            step="appearance",
            text="It is 3 mm, 11 % of the organ, brighter than the organ, round, margin smooth.",
        ),
        Step(step="relation", text="It is the only finding."),
        Step(step="conclusion", text="The finding is a nodule."),
    )


def test_an_unclear_host_is_not_named():
    lost = finding("effusion", organ=UNCLEAR)
    steps = rationale.explain(record([lost]), lost, "So.")
    assert [step.step for step in steps] == ["seed", "view", "appearance", "relation", "conclusion"]
    assert steps[0].text == "There is an effusion."


def test_bilateral_is_said_as_both_lungs():
    both = linked_nodule(label="opacity", organ="lungs", side="bilateral")
    assert rationale.seed_step(both).text == "There is an opacity in both lungs."


def test_a_survey_names_every_finding_once():
    two = [linked_nodule(), linked_nodule(label="mass", n=2, box_xyxy=(3.0, 3.0, 5.0, 5.0))]
    texts = [step.text for step in rationale.survey(record(two), "So.")]
    assert texts[-2:] == ["There are 2 findings: nodule, mass.", "So."]
    assert rationale.survey(record(), "So.")[-2].text == "No finding is seen."


def test_a_survey_begins_with_the_largest():
    small = linked_nodule(label="mass", n=2, box_xyxy=(3.0, 3.0, 6.0, 6.0))
    large = linked_nodule(label="opacity", n=3, box_xyxy=(1.0, 1.0, 6.0, 6.0))
    steps = rationale.survey(record([small, large]), "So.")
    assert [step.box_xyxy for step in steps[:2]] == [large.box_xyxy, small.box_xyxy]
    assert steps[3].text == "There are 2 findings: opacity, mass."

"""Questions about the findings of an image: what, where, how large, how they look and how they lie to each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from medclm.data import anatomy, boxes
from medclm.data.anatomy import finding_text, normal_name, organ_text
from medclm.data.knowledge import not_deniable
from medclm.data.knowledge.steps import definition_step, fact_step, signs
from medclm.data.questions.draft import Catalogue, Draft
from medclm.data.rationale import a, annotated, explain, place_text, size_text, survey
from medclm.data.records import Finding, Record, Step

LARGER_BY = 1.3
"""A which-is-larger question is asked when one area is at least this many times the other."""
APART = 1.5
"""A direction is asked when the centres differ along it by at least this many times what they differ across it."""
Direction = Literal["above", "below", "in front", "behind", "left", "right"]


def about_findings(record: Record, catalogue: Catalogue) -> Iterator[Draft]:
    """Drafts about single findings (only where words can tell them apart) and about pairs."""
    labels = [finding.label for finding in record.findings]
    places = [place_text(finding) for finding in record.findings]
    for finding in record.findings:
        name, place = finding_text(finding.label), place_text(finding)
        wrong = other_findings(record, finding, catalogue)
        if len(labels) == 1:
            steps = explain(record, finding, f"The finding is {a(name)}.", definition_step(finding.label))
            yield Draft("what", name, steps, (finding,), distractors=wrong)
        elif place and places.count(place) == 1:
            steps = explain(record, finding, f"The finding in {place} is {a(name)}.", definition_step(finding.label))
            blanks = (("organ", place.removeprefix("the ")),)
            yield Draft("what", name, steps, (finding,), blanks=blanks, wording="what_in", distractors=wrong)
        if labels.count(finding.label) == 1:  # otherwise "the nodule" would not say which
            yield from _about_one(record, finding, catalogue)
    yield from _about_two(record)


def other_findings(record: Record, finding: Finding, catalogue: Catalogue) -> tuple[str, ...]:
    """Findings of the dataset that the image does not have; those that the same organ can hold come first."""
    there = not_deniable({*(f.label for f in record.findings), *record.labels})
    absent = [label for label in catalogue.labels if label not in there]
    host = finding.organ if finding.organ in anatomy.organs() else None
    absent.sort(key=lambda label: (host is None or not anatomy.is_admissible(label, host), label))
    return tuple(finding_text(label) for label in absent)


def _about_one(record: Record, finding: Finding, catalogue: Catalogue) -> Iterator[Draft]:
    name = finding_text(finding.label)
    blanks = (("finding", name),)
    if place := place_text(finding):
        answer = place.removeprefix("the ")
        steps = explain(record, finding, f"The host organ is {place}.")
        yield Draft("organ", answer, steps, (finding,), None, blanks, distractors=_other_organs(record, finding))
    if finding.side in ("left", "right"):
        steps = explain(record, finding, f"The side is {finding.side}.")
        yield Draft("side", finding.side, steps, (finding,), ("left", "right"), blanks)
    if finding.zone:
        steps = explain(record, finding, f"The zone is {finding.zone}.")
        yield Draft("zone", finding.zone, steps, (finding,), ("upper", "middle", "lower"), blanks)
    if finding.size_mm is not None and round(finding.size_mm) >= 1:
        size = size_text(finding)
        steps = explain(record, finding, f"The size is {size}.")
        yield Draft("size", size, steps, (finding,), None, blanks, distractors=_other_sizes(finding.size_mm))
    for key, value in annotated(finding).items():
        steps = explain(record, finding, f"The {key} is {value}.", *_signs_of(finding, key))
        wrong = tuple(v for v in catalogue.values_of(key) if v != value)
        more = (*blanks, ("attribute", key))
        yield Draft("attribute", value, steps, (finding,), None, more, distractors=wrong)


def _signs_of(finding: Finding, attribute: str) -> list[Step]:
    """Steps for the signs that this attribute of the finding shows."""
    return [fact_step(fact) for fact, _, key in signs(finding) if key == normal_name(attribute)]


def _other_organs(record: Record, finding: Finding) -> tuple[str, ...]:
    """Organs of the image that neither hold the finding nor lie in its host: the other side of the host comes first."""
    host = finding.organ or ""
    path = set(finding.organ_path)
    wrong = []
    for organ in record.organs:
        known = organ.name in anatomy.organs()
        if organ.name in path or (known and host in anatomy.organ_path(organ.name)):
            continue
        parts = known and anatomy.organs()[organ.name].parent
        wrong.append((organ.name != _mirror(host), parts != _parent(host), organ.name))
    return tuple(organ_text(name) for _, _, name in sorted(wrong))


def _parent(organ: str) -> str | None:
    term = anatomy.organs().get(organ)
    return term.parent if term else None


def _mirror(organ: str) -> str:
    """The same organ on the other side; "" for one without a side in its name."""
    words = organ.split("_")
    swapped = [{"left": "right", "right": "left"}.get(word, word) for word in words]
    return "_".join(swapped) if swapped != words else ""


def _other_sizes(size_mm: float) -> tuple[str, ...]:
    """Sizes that no reader would confuse with the true one: half, double and triple it."""
    sizes = dict.fromkeys(max(1, round(size_mm * factor)) for factor in (0.5, 2, 3))
    return tuple(f"{size} mm" for size in sizes if size != round(size_mm))


def _about_two(record: Record) -> Iterator[Draft]:
    """Comparisons of the two findings of an image that has exactly two, of different names."""
    if len(record.findings) != 2 or record.findings[0].label == record.findings[1].label:
        return
    first, second = record.findings
    names = (finding_text(first.label), finding_text(second.label))
    blanks = (("a", names[0]), ("b", names[1]))
    areas = [_area(finding, record) for finding in (first, second)]
    if max(areas) >= LARGER_BY * min(areas):
        answer = names[areas[1] > areas[0]]
        steps = survey(record, f"The {answer} is the larger one.")
        yield Draft("which-is-larger", answer, steps, (first, second), names, blanks)
    if direction := direction_of(first, second, record.plane):
        words = direction_text(direction)
        steps = survey(record, f"Seen from the {names[1]}, the {names[0]} lies {words}.")
        choices = tuple(direction_text(d) for d in _directions(record.plane))
        yield Draft("relation", words, steps, (first, second), choices, blanks)
    if place_text(first) and place_text(second):
        same = first.organ == second.organ
        both = f"Both lie in {place_text(first)}." if same else "They lie in different organs."
        answer = "yes" if same else "no"
        nested = set(first.organ_path) >= {second.organ} or set(second.organ_path) >= {first.organ}
        if same or not nested:  # a lobe and its lung are neither the same organ nor different ones
            steps = survey(record, both)
            yield Draft("relation", answer, steps, (first, second), ("yes", "no"), blanks, wording="same_organ")


def _area(finding: Finding, record: Record) -> float:
    if finding.mask_rle and record.image:
        return float(boxes.decode_rle(finding.mask_rle, (record.image.height, record.image.width)).sum())
    return float(boxes.area(finding.box_xyxy))


def direction_of(first: Finding, second: Finding, plane: str) -> Direction | None:
    """Where ``first`` lies seen from ``second``; None where no direction is clear, or the plane is not known.

    Pictures are in radiological display: to the right of the picture is the patient's left in axial, coronal and
    frontal ones; down is towards the back in axial pictures and towards the feet in the others.
    """
    if plane not in ("axial", "coronal", "frontal"):
        return None
    (ax, ay), (bx, by) = _centre(first), _centre(second)
    dx, dy = ax - bx, ay - by
    if abs(dx) >= APART * abs(dy) and _clear_of(first, second, axis=0):
        return "left" if dx > 0 else "right"
    if abs(dy) >= APART * abs(dx) and _clear_of(first, second, axis=1):
        down, up = ("behind", "in front") if plane == "axial" else ("below", "above")
        return down if dy > 0 else up  # type: ignore[return-value]
    return None


def _directions(plane: str) -> tuple[Direction, ...]:
    return ("left", "right", "in front", "behind") if plane == "axial" else ("left", "right", "above", "below")


def direction_text(direction: Direction) -> str:
    """A direction in words, sides being the patient's: "to the left", "above"."""
    return f"to the {direction}" if direction in ("left", "right") else direction


def _centre(finding: Finding) -> tuple[float, float]:
    x1, y1, x2, y2 = finding.box_xyxy
    return (x1 + x2) / 2, (y1 + y2) / 2


def _clear_of(first: Finding, second: Finding, axis: int) -> bool:
    """Whether the boxes do not overlap along an axis (0 is x, 1 is y)."""
    return first.box_xyxy[axis + 2] <= second.box_xyxy[axis] or second.box_xyxy[axis + 2] <= first.box_xyxy[axis]

"""The structured rationale of a question: ordered steps, each with the region that shows it.

Order (METHOD section 1): seed, view, organ, appearance, relation, conclusion. A step is one sentence that states facts
of the record and nothing else, so that :mod:`medclm.data.verify` can hold it against the record.
"""

from __future__ import annotations

from medclm.data.anatomy import finding_text, organ_text
from medclm.data.boxes import area
from medclm.data.records import UNCLEAR, Finding, Organ, Record, Step

ANNOTATED = (
    "margin", "density", "texture", "calcification", "spiculation", "lobulation", "sphericity", "subtlety",
    "internal structure", "malignancy",
)  # fmt: skip
"""Attributes that a dataset annotates and a rationale tells, in this order. Underscores in a key read as spaces."""

_VIEWS = {
    ("CT", "axial"): "axial CT slice",
    ("MR", "axial"): "axial MR slice",
    ("CR", "frontal"): "frontal radiograph",
    ("DX", "frontal"): "frontal radiograph",
}


def a(noun: str) -> str:
    """``noun`` with its indefinite article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def view_text(record: Record) -> str:
    """Modality and view in words: "frontal radiograph", "axial CT slice"."""
    known = _VIEWS.get((record.modality, record.plane))
    return known or " ".join(part for part in (record.plane, record.modality, "image") if part)


def place_text(finding: Finding) -> str:
    """Where a finding lies: "the left lung", "both lungs"; empty when its host organ is unclear."""
    if not finding.organ or finding.organ == UNCLEAR:
        return ""
    if finding.side == "bilateral" and finding.organ == "lungs":
        return "both lungs"
    return f"the {organ_text(finding.organ)}"


def seed_step(finding: Finding) -> Step:
    """The paper's seed sentence: "There is a {lesion} in the {organ}." with the lesion's box."""
    place = place_text(finding)
    text = f"There is {a(finding_text(finding.label))}{f' in {place}' if place else ''}."
    return Step(step="seed", text=text, box_xyxy=finding.box_xyxy)


def view_step(record: Record) -> Step:
    return Step(step="view", text=f"This is {a(view_text(record))}.")


def organ_step(record: Record, finding: Finding) -> Step | None:
    """Host organ, side and zone, with the organ's box; None when the host is unclear."""
    place = place_text(finding)
    if not place:
        return None
    zone = f", {finding.zone} zone" if finding.zone else ""
    side = {"left": ", left side", "right": ", right side", "bilateral": ", both sides"}.get(finding.side or "", "")
    if side and finding.side in (finding.organ or "").split("_"):
        side = ""  # the organ's name says it
    box = next((organ.box_xyxy for organ in record.organs if organ.name == finding.organ), None)
    return Step(step="organ", text=f"It lies in {place}{side}{zone}.", box_xyxy=box)


def organ_step_of(organ: Organ) -> Step:
    """A normal organ and where it is."""
    return Step(step="organ", text=f"The {organ_text(organ.name)} is here.", box_xyxy=organ.box_xyxy)


def size_text(finding: Finding) -> str:
    """The longest diameter in words: "12 mm"; empty where it is not known."""
    return "" if finding.size_mm is None else f"{finding.size_mm:.0f} mm"


def appearance_step(finding: Finding) -> Step:
    """Size, share of the host, contrast, shape, then what the dataset annotates."""
    facts = []
    if finding.size_mm is not None:
        facts.append(size_text(finding))
    if share := finding.attributes.get("share_of_organ"):
        facts.append(f"{share} of the organ")
    if contrast := finding.attributes.get("contrast"):
        facts.append({"similar": "as bright as the organ"}.get(contrast, f"{contrast} than the organ"))
    if shape := finding.attributes.get("shape"):
        facts.append(shape)
    facts += [f"{key} {value}" for key, value in annotated(finding).items()]
    return Step(step="appearance", text=f"It is {', '.join(facts) or 'visible'}.")


def annotated(finding: Finding) -> dict[str, str]:
    """The dataset's own attributes of a finding that the rationale tells, in a fixed order, keys in words."""
    own = {key.replace("_", " "): value for key, value in finding.attributes.items()}
    return {key: own[key] for key in ANNOTATED if key in own}


def by_extent(record: Record) -> list[Finding]:
    """The findings of a record, the one with the largest box first: the order in which a survey names them."""
    return sorted(record.findings, key=lambda finding: (-float(area(finding.box_xyxy)), finding.box_xyxy, finding.id))


def relation_step(record: Record) -> Step:
    """How many findings there are and which; labels of the whole image count where no box has them."""
    boxed = [finding.label for finding in by_extent(record)]
    labels = [*boxed, *(label for label in record.labels if label not in boxed)]
    count = len(labels)
    if count == 0:
        return Step(step="relation", text="No finding is seen.")
    if count == 1:
        text = "It is the only finding." if boxed else f"{a(finding_text(labels[0])).capitalize()} is seen."
        return Step(step="relation", text=text)
    names = [finding_text(label) for label in labels]
    return Step(step="relation", text=f"There are {count} findings: {', '.join(names)}.")


def conclusion_step(text: str) -> Step:
    return Step(step="conclusion", text=text)


def explain(record: Record, finding: Finding, conclusion: str, *knowledge: Step | None) -> tuple[Step, ...]:
    """All steps of a question about one finding of ``record``; ``knowledge``: steps that cite facts of the base."""
    steps = [seed_step(finding), view_step(record), organ_step(record, finding), appearance_step(finding)]
    steps += [relation_step(record), *knowledge, conclusion_step(conclusion)]
    return tuple(step for step in steps if step is not None)


def survey(record: Record, conclusion: str) -> tuple[Step, ...]:
    """The steps of a question about the whole image: every finding's seed, the largest first, then the count.

    They are the same whatever is asked and whatever the answer is: a yes/no question too is answered from all that is
    seen, because reasoning that begins with the finding asked about has said yes already.
    """
    seeds = [seed_step(finding) for finding in by_extent(record)]
    return (*seeds, view_step(record), relation_step(record), conclusion_step(conclusion))

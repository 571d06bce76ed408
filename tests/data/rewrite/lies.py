"""Lies planted into honest sentences: one small edit each, by class. Every edit changes a fact."""

from __future__ import annotations

import re
from collections.abc import Iterator

SWAPS = {
    "wrong-side": [("left", "right"), ("right", "left"), ("both", "the left"), ("bilateral", "left")],
    "other-organ": [
        ("lungs", "kidneys"), ("lung", "kidney"), ("kidney", "lung"), ("liver", "spleen"), ("spleen", "liver"),
        ("upper lobe", "lower lobe"), ("lower lobe", "upper lobe"), ("middle lobe", "lower lobe"), ("heart", "liver"),
        ("clavicle", "scapula"), ("scapula", "clavicle"), ("mediastinum", "diaphragm"), ("trachea", "esophagus"),
        ("aorta", "heart"), ("pleural cavity", "lung"), ("pleural space", "diaphragm"),
    ],
    "other-finding": [
        ("nodule", "mass"), ("mass", "cyst"), ("effusion", "pneumothorax"), ("pneumothorax", "effusion"),
        ("cyst", "abscess"), ("fracture", "metastasis"), ("opacity", "nodule"), ("consolidation", "atelectasis"),
        ("atelectasis", "consolidation"), ("cardiomegaly", "pericardial effusion"), ("emphysema", "pneumonia"),
        ("pneumonia", "tuberculosis"), ("granuloma", "hemangioma"), ("cavity", "bulla"), ("bulla", "cavity"),
        ("metastasis", "granuloma"), ("calcification", "fracture"), ("pleural thickening", "pleural effusion"),
    ],
    "zone": [("upper zone", "lower zone"), ("lower zone", "middle zone"), ("middle zone", "upper zone"),
             ("zone is upper", "zone is lower"), ("zone is lower", "zone is upper"), ("lower third", "upper third")],
    "comparison": [
        ("brighter", "darker"), ("darker", "brighter"), ("larger", "smaller"), ("smaller", "larger"),
        ("bigger", "smaller"), ("as bright as", "brighter than"), ("below", "above"), ("in front of", "behind"),
        ("unchanged", "larger"), ("new", "resolved"), ("resolved", "new"), ("different organs", "the same organ"),
    ],
    "attribute": [
        ("smooth", "spiculated"), ("spiculated", "smooth"), ("solid", "non-solid"), ("round", "irregular"),
        ("oval", "round"), ("irregular", "oval"), ("poorly defined", "sharp"), ("ill-defined", "smooth"),
        ("marked", "medium"), ("highly suspicious", "highly unlikely"), ("ovoid", "linear"), ("fluid", "air"),
        ("elongated", "round"), ("sharp", "poorly defined"),
    ],
    "view": [("frontal", "lateral"), ("axial", "coronal"), ("coronal", "sagittal"), ("ct", "mr"), ("mri", "ct"),
             ("mr", "ultrasound"), ("radiograph", "ct slice"), ("x-ray", "ultrasound"), ("computed tomography", "mri")],
    "dropped-negation": [
        ("no other", "another"), ("no", "a"), ("not", ""), ("without", "with"), ("free of", "full of"),
        ("absent", "present"), ("holds no", "holds a"), ("cannot", "can"), ("nothing", "something"),
        ("neither", "both"), ("nor", "and"), ("not normal", "normal"), ("unremarkable", "abnormal"),
        ("normal", "abnormal"), ("none", "present"), ("abnormal", "normal"),
    ],
    "unit-swap": [("mm", "cm"), ("cm", "mm"), ("millimetres", "centimetres"), ("%", "mm"), ("percent", "mm")],
    "dropped-hedge": [("possible", ""), ("possibly", ""), ("cannot be excluded", "is present")],
}  # fmt: skip
"""Class to (words, what replaces them)."""

EXTRAS = [
    " and a fracture", " together with an effusion", ", as well as a hamartoma", " and a small pneumothorax",
    " with surrounding edema", ", which is likely malignant", " and enlarged lymph nodes", ", also a sarcoma",
]  # fmt: skip
HEDGES = [("is", "is possibly"), ("is", "may be"), ("lies", "probably lies"), ("shows", "may show"),
          ("contains", "seems to contain"), ("has", "is suspected to have"), ("are", "are likely")]  # fmt: skip
NEGATIONS = [("is", "is not"), ("are", "are not"), ("lies", "does not lie"), ("contains", "does not contain"),
             ("shows", "fails to show"), ("a", "no"), ("measures", "does not measure")]  # fmt: skip
NUMBER_WORDS = {"two": "three", "three": "five", "four": "two", "seven": "nine", "zero": "two", "only": "second"}
TURNED = {
    "polar": "Where is the {finding}?",
    "where": "How large is the {finding}?",
    "size": "Is there a {finding}?",
    "side": "In which zone is the {finding}?",
    "zone": "On which side is the {finding}?",
    "what": "How many findings are there?",
    "count": "What is the main finding?",
}


def _edit(text: str, old: str, new: str) -> str | None:
    """``text`` with the first whole-word ``old`` replaced; None where it does not occur."""
    edge = r"(?<![\w-])" if old[0].isalnum() else ""
    changed, n = re.subn(rf"{edge}{re.escape(old)}(?![\w-])", new, text, count=1, flags=re.IGNORECASE)
    return " ".join(changed.split()) if n else None


def planted(text: str) -> Iterator[tuple[str, str]]:
    """(class, lie) for every edit that applies to one honest text."""
    for kind, pairs in SWAPS.items():
        for old, new in pairs:
            if (lie := _edit(text, old, new)) is not None and not _is_harmless(kind, old, text):
                yield kind, lie
    yield from _numbers(text)
    is_question = text.endswith("?")
    if not is_question and text.endswith("."):
        for extra in EXTRAS:
            yield "invented-finding", f"{text[:-1]}{extra}."
        for old, new in HEDGES:
            if (lie := _edit(text, old, new)) is not None and not re.search(r"exclude|possib|ruled", text):
                yield "added-hedge", lie
        for old, new in NEGATIONS:
            lie = _edit(text, old, new)
            if lie is not None and not re.search(r"\b(no|not|none|nor|without|nothing|free|fails)\b", text.lower()):
                yield "added-negation", lie
        yield "question-turned", f"Is it true that {text[0].lower()}{text[1:-1]}?"


def _is_harmless(kind: str, old: str, text: str) -> bool:
    """Edits that would leave a sentence's facts alone, or make no sentence at all."""
    low = text.lower()
    if kind == "wrong-side":
        return (
            "left or" in low
            or "left-sided or" in low
            or (old == "both" and not re.search(r"both (of the )?lungs|both sides", low))
        )
    if kind == "dropped-negation":
        # a denial with two words for it ("not ... any"), a name with "normal" in a denial, an open question
        return text.endswith("?") or (old in ("normal", "abnormal") and re.search(r"\bno|not|nothing", low) is not None)
    if kind == "comparison":
        return text.endswith("?") or (old == "new" and "newly" in low)
    return False


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"\d+(?:\.\d+)?", text):
        value = float(found.group())
        for other in (value + 1, value * 10 if value else 4, value + 3):
            yield "changed-number", f"{text[: found.start()]}{other:g}{text[found.end() :]}"
    for old, new in NUMBER_WORDS.items():
        if "of the two" not in text.lower() and (lie := _edit(text, old, new)) is not None:
            yield "changed-number", lie

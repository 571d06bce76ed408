"""Whether a rewording states the facts of its original. Deterministic, without a model.

What cannot be told apart by words alone is held to be different: the verifier refuses what it does not understand.
"""

from __future__ import annotations

from medclm.data.rewrite.facts import Fact, Facts, facts_of

MOST_LONGER, SLACK = 3.0, 60
"""A rewording may be this many times as long as the original, and this many characters more."""

_LABEL = {
    "finding": "finding", "organ": "organ", "side": "side", "zone": "zone", "number": "number", "compare": "comparison",
    "value": "attribute", "key": "attribute", "hedge": "hedge", "unknown": "unfamiliar-word", "change": "change",
    "direction": "direction", "abnormal": "negation", "asks": "question", "negation": "negation", "reference": "roles",
    "bound": "number", "only": "count", "modality": "view", "plane": "view", "prior": "change", "pair": "pairing",
    "degree": "degree", "quantity": "count", "same": "comparison", "many": "count",
}  # fmt: skip
"""Kind of fact to the reason that counts are made of."""
_SELF_EXPLAINING = frozenset(
    {
        "smooth", "sharp", "spiculated", "lobulated", "irregular", "solid", "round", "ovoid", "linear", "calcified",
        "fat", "fluid", "air", "popcorn", "laminated", "poorly defined", "part solid", "non solid", "ground glass",
        "soft tissue",
    }
)  # fmt: skip
"""Values that say which attribute they are of."""


def same_facts(original: str, reworded: str, about: tuple[str, ...] = ()) -> str | None:
    """Whether a rewording states the facts of its original, no more and no fewer.

    Args:
        original: a sentence of a rationale, or a question.
        reworded: the same in other words.
        about: names of the findings that "it" means in the original; the rewording may name them.

    Returns:
        None when the facts are equal, else ``"CODE: detail"``: CODE is what counts are made of (``side``, ``organ``,
        ``finding``, ``number``, ``negation``, ``hedge``, ``question``, ``unfamiliar-word`` ...).
    """
    if not reworded.strip():
        return "empty: the rewording has no words"
    if len(reworded) > MOST_LONGER * len(original) + SLACK or "\n" in reworded.strip():
        return f"length: {len(reworded)} characters in place of {len(original)}"
    old, new = facts_of(original), facts_of(reworded)
    if old.is_question != new.is_question:
        return "question: a question became a statement, or a statement a question"
    return _stated(old, new, about) or _abnormality(old, new) or _arrangement(old, new)


def _stated(old: Facts, new: Facts, about: tuple[str, ...]) -> str | None:
    meant = {("finding", name, "+") for name in about} if old.has_pronoun else set()
    added = new.stated - old.stated - old.free - meant
    lost = {fact for fact in old.stated - new.stated - new.free if not _may_go(fact, old, new)}
    for word, facts in (("adds", added), ("drops", lost)):
        if facts:
            fact = min(facts)
            return f"{_LABEL.get(fact[0], fact[0])}: it {word} {' '.join(part for part in fact if part)!r}"
    return None


def _may_go(fact: Fact, old: Facts, new: Facts) -> bool:
    """The name of an attribute may go where its value says which it is ("margin spiculated", "spiculated")."""
    if fact[0] != "key" or fact[2] == "-" or ("asks", "attribute") in old.stated:
        return False
    values = {f[1] for f in old.stated if f[0] == "value"}
    keys = [f for f in old.stated if f[0] == "key"]
    return len(keys) == 1 and bool(values) and values <= _SELF_EXPLAINING


def _abnormality(old: Facts, new: Facts) -> str | None:
    """ "No abnormality" must stay; an abnormality that has a name may be called one, or not."""
    if ("-" in old.abnormal) != ("-" in new.abnormal):
        return "negation: abnormality as such is denied in one and not in the other"
    named = bool(old.findings) and bool(new.findings)
    if ("asks", "what") in old.stated & new.stated:
        return None
    if "+" in old.abnormal and "+" not in new.abnormal and not named:
        return "negation: the abnormality is not said any more"
    if "+" in new.abnormal and "+" not in old.abnormal and not (named or (old.has_pronoun and "-" not in old.abnormal)):
        return "finding: it adds an abnormality"
    return None


def _arrangement(old: Facts, new: Facts) -> str | None:
    """Whether sides, organs, numbers and values still belong to the same findings and attributes."""
    if old.order and new.order and old.order != new.order:
        return "pairing: places or numbers stand with other findings"
    if old.pairs and new.pairs and old.pairs != new.pairs:
        return "pairing: values stand with other attributes"
    if max(old.findings.values(), default=0) > 1 and old.findings != new.findings:
        return "count: the findings are named another number of times"
    for kind, before, after in (("findings", old.findings, new.findings), ("organs", old.organs, new.organs)):
        if any(count > max(before[name], 1) for name, count in after.items()):
            return f"count: {kind} are named more often"
    return None

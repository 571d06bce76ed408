"""The facts of one text. Deterministic, without a model.

Facts are sides, organs, findings, abnormality as such, numbers with units, zones, directions, comparisons, attribute
values, degrees, views, change over time, hedges, and every word that the lexicon does not explain; findings,
comparisons, values and changes carry their polarity. A question has what it asks for as a fact as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from medclm.data.rewrite import question_form
from medclm.data.rewrite.lexicon import Token, lexicon, words_of
from medclm.data.rewrite.polarity import denied

Fact = tuple[str, ...]
_SAID_BY_TOPIC: dict[str, frozenset[Fact]] = {
    "change": frozenset({("prior",)}),
    "same": frozenset({("same", "+"), ("quantity", "another")}),
}
"""Facts that a question of a topic implies."""

_PLAIN = {"organ", "side", "zone", "direction", "degree", "quantity", "modality", "plane", "hedge", "unknown"}
_POLAR = {"finding", "compare", "value", "change", "key"}


@dataclass(frozen=True)
class Facts:
    """What a text states.

    Attributes:
        stated: facts that must be equal.
        free: facts that may be named or left out (a pronoun's own count, the word for "one").
        abnormal: polarities ("+", "-") of abnormality as such.
        findings: how often each finding is named, denied ones left out.
        organs: how often each organ is named.
        order: what stands nearest to each finding or attribute, to tell swaps.
        has_pronoun: whether something is meant that is not named.
        is_question: whether the text asks.
    """

    stated: frozenset[Fact]
    free: frozenset[Fact] = frozenset()
    abnormal: frozenset[str] = frozenset()
    findings: Counter[str] = field(default_factory=Counter)
    organs: Counter[str] = field(default_factory=Counter)
    order: tuple[tuple[str, frozenset[Fact]], ...] = ()
    pairs: frozenset[tuple[str, str]] = frozenset()
    has_pronoun: bool = False
    is_question: bool = False


@lru_cache(maxsize=16384)
def facts_of(text: str) -> Facts:
    """The facts of a sentence or a question."""
    words = words_of(text)
    asks = question_form.is_question(text, words)
    tokens = _settled(lexicon().tokens(text), asks)
    flags, loose = denied(tokens)
    stated: set[Fact] = {("negation", "loose")} if loose else set()
    free: set[Fact] = set()
    for at in range(len(tokens)):
        _read(tokens, at, flags[at], stated, free)
    topic = question_form.topic_of(tokens, question_form.is_polar(words, tokens)) if asks else ""
    if asks:
        stated.add(("asks", topic))
        free |= stated & _SAID_BY_TOPIC.get(topic, frozenset())
    if topic in ("", "direction", "polar"):
        stated |= _reference(tokens)
    return Facts(
        stated=frozenset(stated - free),
        free=frozenset(free),
        abnormal=frozenset(_abnormal(tokens, flags)),
        findings=_mentions(tokens, flags),
        organs=Counter(token.value for token in tokens if token.kind == "organ"),
        order=_segments(tokens),
        pairs=_attribute_pairs(tokens),
        has_pronoun=any(token.kind == "pronoun" for token in tokens),
        is_question=asks,
    )


def _settled(tokens: list[Token], asks: bool) -> list[Token]:
    """Tokens whose kind depends on what stands around them, decided."""
    out = []
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        kind, value = token.kind, token.value
        if kind == "side" and value == "both" and "both" not in token.text and "bilateral" not in token.text and asks:
            kind = "asks-side"
        if token.text == "both" and following and _organ_follows(tokens, at):
            kind, value = "side", "both"
        elif kind == "bound" and not (following and following.kind == "number"):
            kind = "neutral"
        elif kind == "number" and float(value) == 0 and not (following and following.kind == "unit"):
            kind = "nothing"  # "0 findings"
        elif kind == "unit" and value not in ("mm", "%") and not (at and tokens[at - 1].kind == "number"):
            kind = "unknown"  # "in cm" of a question
        elif kind == "modal":
            kind = "neutral" if asks else "hedge"
        elif kind == "number" and value == "1" and token.text == "one":
            named = following is not None and following.kind in ("finding", "abnormal", "unit")
            kind = "number" if named else "pronoun"
        elif kind == "abnormal" and following and following.kind == "finding" and token.text == "abnormal":
            kind = "unknown"
        out.append(
            token if (kind, value) == (token.kind, token.value) else Token(kind, value, token.text, token.plural)
        )
    return out


def _organ_follows(tokens: list[Token], at: int) -> bool:
    nxt = [token for token in tokens[at + 1 : at + 4] if token.text not in ("the", "of")]
    return bool(nxt) and nxt[0].kind == "organ"


def _read(tokens: list[Token], at: int, is_denied: bool, stated: set[Fact], free: set[Fact]) -> None:
    """Adds the facts of one token."""
    token = tokens[at]
    sign = "-" if is_denied else "+"
    if token.kind == "number":
        _read_number(tokens, at, stated, free)
    elif token.kind == "same":
        stated.add(("same", "+" if (token.value == "same") != is_denied else "-"))
    elif token.kind in _POLAR:
        stated.add((token.kind, token.value, sign))
        if token.plural and not is_denied and tokens[-1].text != "?" and not _is_counted(tokens):
            stated.add(("many", token.value))
    elif token.kind == "zone-word" and "lung" in token.text:
        free.add(("organ", "lung"))
    elif token.kind in _PLAIN:
        if token.value != "body":
            stated.add((token.kind, token.value))
        if token.kind == "organ" and token.value.endswith("_lobe"):
            free.add(("organ", "lung"))
    elif token.kind == "bound":
        stated.add(("bound", token.value))
    elif token.kind == "only":
        stated.add(("only",))
    elif token.kind == "prior":
        stated.add(("prior",))


def _is_counted(tokens: list[Token]) -> bool:
    return any(token.kind == "number" or token.text == "both" for token in tokens)


def _read_number(tokens: list[Token], at: int, stated: set[Fact], free: set[Fact]) -> None:
    """A number in canonical units (mm, %), with the axis it is measured along; a bare count of findings otherwise."""
    token = tokens[at]
    ahead = tokens[at + 1 : at + 8]
    unit = next((t.value for t in ahead[:1] if t.kind == "unit"), "")
    value = float(token.value)
    if unit == "cm":
        value, unit = round(value * 10, 3), "mm"
    if unit == "other":
        unit = ahead[0].text
    if not unit and value == 1:
        (free if token.text == "one" else stated).add(("only",))
        return
    axis = next((t.value for t in ahead if t.kind in ("axis", "number")), "") if unit == "%" else ""
    fact: Fact = ("number", f"{value:g}", unit, axis if axis in ("across", "down") else "")
    names = sum(t.kind == "finding" for t in tokens)
    of_the_two = (
        token.text == "two"
        and at > 0
        and tokens[at - 1].text == "the"
        and ahead[:1] != []
        and ahead[0].kind != "abnormal"
    )
    counts_names = not unit and (
        names == value or of_the_two or any(t.kind == "finding" and t.plural for t in ahead[:3])
    )
    (free if counts_names else stated).add(fact)


def _abnormal(tokens: list[Token], flags: list[bool]) -> Iterable[str]:
    """Polarities of abnormality as such: "normal" and "nothing" deny it, a count of 0 does too."""
    is_zero = any(token.kind == "nothing" and token.text in ("0", "zero") for token in tokens)
    for at, (token, is_denied) in enumerate(zip(tokens, flags, strict=True)):
        if token.kind == "abnormal" and not is_zero and (is_denied or not _is_anaphor(tokens, at)):
            yield "-" if is_denied else "+"
        elif token.kind in ("normal", "nothing"):
            yield "+" if is_denied else "-"


def _is_anaphor(tokens: list[Token], at: int) -> bool:
    """ "The finding" of a statement means one that is known, like "it"."""
    known = at > 0 and tokens[at - 1].text in ("the", "this")
    return known and tokens[at].text in ("finding", "abnormality", "lesion") and tokens[-1].text != "?"


def _mentions(tokens: list[Token], flags: list[bool]) -> Counter[str]:
    """How many of each finding are named: "two nodules" are two."""
    found: Counter[str] = Counter()
    for at, token in enumerate(tokens):
        if token.kind == "finding" and not flags[at]:
            before = [t for t in tokens[max(at - 3, 0) : at] if t.kind == "number"]
            twice = any(t.text == "both" for t in tokens[max(at - 2, 0) : at])
            counted = int(float(before[-1].value)) if before else 2 if twice else 1
            found[token.value] += counted if token.plural else 1
    return found


def _reference(tokens: list[Token]) -> set[Fact]:
    """The finding that a direction is seen from, or that "than" compares with, where two are named."""
    named = {token.value for token in tokens if token.kind == "finding"}
    if len(named) < 2 or any(t.text in ("or", "both") or t.kind == "same" for t in tokens):
        return set()
    for at, token in enumerate(tokens):
        if token.kind in ("reference", "direction") or (
            token.kind == "side" and "of" in [t.text for t in tokens[at + 1 : at + 2]]
        ):
            after = next((t for t in tokens[at + 1 : at + 4] if t.kind not in ("neutral", "unit")), None)
            if after is not None and after.kind == "finding":
                return {("reference", after.value)}
    return set()


def _segments(tokens: list[Token]) -> tuple[tuple[str, frozenset[Fact]], ...]:
    """Per finding, the sides, organs, zones and numbers that stand with it; empty unless several could be swapped."""
    marks = [(t.kind, t.value) for t in tokens if t.kind in ("finding", "side", "organ", "zone", "number")]
    findings = [i for i, (kind, _) in enumerate(marks) if kind == "finding"]
    details = {mark for mark in marks if mark[0] != "finding"}
    if len({marks[i] for i in findings}) < 2 or max(Counter(kind for kind, _ in details).values(), default=0) < 2:
        return ()
    leading = findings[0] > 0 and len(marks) - 1 == findings[-1]
    edges = [-1, *findings] if leading else [*findings, len(marks)]
    groups = []
    for left, right in pairwise(edges):
        own = marks[right] if leading else marks[left]
        groups.append((own[1], frozenset(marks[left + 1 : right])))
    return tuple(sorted(groups, key=lambda group: (group[0], sorted(group[1]))))


def _attribute_pairs(tokens: list[Token]) -> frozenset[tuple[str, str]]:
    """(attribute, value) of every value that stands beside an attribute, where a text names several attributes."""
    if sum(token.kind == "key" for token in tokens) < 2:
        return frozenset()
    pairs, waiting = set(), None
    for token in tokens:
        if token.text in (",", ";", ".", "and", "but", "with"):
            waiting = None
        elif token.kind in ("key", "value"):
            if waiting is not None and waiting.kind != token.kind:
                key, value = (token, waiting) if token.kind == "key" else (waiting, token)
                pairs.add((key.value, value.value))
                waiting = None
            else:
                waiting = token
    return frozenset(pairs)

"""Scorers: from (prediction, reference) to a number. The definitions in print do not agree (METHOD section 4).

A number belongs to the definition that made it and two definitions never share a column. ``strict`` is ours and is the
one that reports lead with. The others are there so that published numbers can be met on their own ground; the docstring
of each says what is wrong with it, and the tests pin those faults.

==================  ====  ==================================================================
name                      rule
==================  ====  ==================================================================
``strict``                normalised whole words; see :func:`strict`
``llava-med``       A     open: token recall; closed: substring, and "yes" or "no" in the text
``llava-med-batch`` B     open: as A; closed: reference is a substring of the prediction
``exact``           C     lower-cased string equality, open and closed together (VILA-M3)
``closed-mc``       D     closed only, as multiple choice (HuatuoGPT-Vision, Chiron-o1)
``token-f1``        F     token F1, open and closed together (MedGemma card)
==================  ====  ==================================================================

A text is at most :data:`MAX_CHARS` characters to a scorer; what follows is not read (an answer of 10,000 tokens).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_CHARS = 4000
ARTICLES = frozenset({"a", "an", "the"})
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBER_WORDS = {word: n for n, word in enumerate(_ONES)} | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
_CJK = "\u3400-\u9fff"
_TOKEN = re.compile(rf"(?<![\w.])-?\d+(?:,\d{{3}})*(?:\.\d+)?|\d+(?:\.\d+)?|[{_CJK}]|[^\W\d_{_CJK}]+")
_LETTER = re.compile(r"\W*([a-z])\W*(?:$|[.):]\s)")


@dataclass(frozen=True)
class Score:
    """A strict score: ``correct`` is the verdict, ``recall`` and ``f1`` (0 to 1) compare the sets of words."""

    correct: bool
    recall: float
    f1: float


def words(text: str) -> tuple[str, ...]:
    """The normalised words of a text, in order.

    Lower case; punctuation and the articles a, an, the are dropped; number words are digits ("twenty-one" is "21");
    numbers have one form ("12.0" and "12" are the same; a decimal point and a sign before a number are kept). Chinese
    has no blanks between words: every character is one.
    """
    found: list[str] = []
    tens = 0
    for token in _TOKEN.findall(text[:MAX_CHARS].lower()):
        value = NUMBER_WORDS.get(token)
        if tens and value is not None and 0 < value < 10:
            found[-1] = str(tens + value)
            tens = 0
            continue
        tens = value if value is not None and value >= 20 else 0
        if token not in ARTICLES:
            found.append(_number(token) if value is None else str(value))
    return tuple(found)


def _number(token: str) -> str:
    return f"{float(token.replace(',', '')):.12g}" if token[-1].isdecimal() else token


def strict(prediction: str, reference: str, closed: bool, choices: Sequence[str] | None = None) -> Score:
    """Ours: a verdict that a reader of the two texts would agree with, without credit for hedging.

    * The reference is yes or no: the first word of the prediction must be that word ("Yes, a nodule." is yes, "There
      is none" is not a no: it does not say so, and "normal" never is).
    * Other closed questions: the prediction is exactly the reference, or the letter of its place among ``choices``
      ("B", "(b)", "B. left"). Naming two choices is wrong.
    * Open questions are short answers: correct when the *sets* of words are equal, so "lung, left" is "left lung" and
      "left" alone is not. ``recall`` and ``f1`` of the sets grade what is not quite right.

    Args:
        prediction: the model's answer, without its reasoning.
        reference: the right answer.
        closed: whether the question has a fixed set of answers.
        choices: that set in the order asked, where it is known.
    """
    said, right = words(prediction), words(reference)
    recall, f1 = _overlap(set(said), set(right))
    if not right:  # a reference of signs only, such as "-"
        same = prediction.strip() == reference.strip()
        return Score(same, float(same), float(same))
    if right in (("yes",), ("no",)):
        return Score(said[:1] == right, recall, f1)
    if closed:
        return Score(said == right or _letter_choice(prediction, choices) == right, recall, f1)
    return Score(set(said) == set(right), recall, f1)


def _letter_choice(prediction: str, choices: Sequence[str] | None) -> tuple[str, ...] | None:
    """Words of the choice that a letter names; None when no letter leads, or what follows it is another choice."""
    match = _LETTER.match(prediction.strip().lower())
    if not choices or not match:
        return None
    place = ord(match[1]) - ord("a")
    if place >= len(choices):
        return None
    chosen, rest = words(choices[place]), words(prediction.strip()[match.end() :])
    return chosen if rest in ((), chosen) else None


def _overlap(said: set[str], right: set[str]) -> tuple[float, float]:
    if not said or not right:
        return 0.0, 0.0
    shared = len(said & right)
    return shared / len(right), 2 * shared / (len(said) + len(right))


def _published_words(text: str) -> list[str]:
    """The normalisation of LLaVA-Med's scripts, in short: none to ten are digits, no articles, signs become blanks.

    Left out: their table of contractions and their rule that a sign beside a blank joins the words around it.
    """
    digits = {"none": "0"} | {word: str(value) for word, value in NUMBER_WORDS.items() if value <= 10}
    plain = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text[:MAX_CHARS].lower())
    plain = re.sub(r"[;/\[\]\"{}()=+\\_\-><@`,?!]", " ", plain)
    return [digits.get(word, word) for word in plain.split() if word not in ARTICLES]


def _token_recall(prediction: str, reference: str) -> float:
    said, right = Counter(_published_words(prediction)), Counter(_published_words(reference))
    hits = sum(count for word, count in said.items() if word in right)
    missed = sum(count for word, count in right.items() if word not in said)
    return hits / (hits + missed) if hits else 0.0


def llava_med(prediction: str, reference: str, closed: bool, choices: Sequence[str] | None = None) -> float:
    """A: LLaVA-Med's first script. Open: token recall. Closed: needs "yes" or "no" in the text, and the reference.

    Faults. Recall counts the *prediction's* words, so repeating a right word raises it, and length is free. A closed
    answer that is neither yes nor no scores only if it happens to hold those letters: a perfect predictor gets 355 of
    416 = 85.34 % on SLAKE-English closed. Both are substring tests: "normal" holds "no" and so is right where the
    reference is "no". (The script also leaves a wrong yes or no out of the denominator; here it counts as 0.)
    """
    if not closed:
        return _token_recall(prediction, reference)
    said, right = " ".join(_published_words(prediction)), " ".join(_published_words(reference))
    return float(("yes" in said or "no" in said) and right in said)


def llava_med_batch(prediction: str, reference: str, closed: bool, choices: Sequence[str] | None = None) -> float:
    """B: LLaVA-Med's batch script, as LLaVA-Tri reports it. Open: recall of A. Closed: reference is a substring.

    Faults. "yes no" is right whatever the reference; "normal" is right for "no"; recall has the faults of A.
    """
    if not closed:
        return _token_recall(prediction, reference)
    return float(" ".join(_published_words(reference)) in " ".join(_published_words(prediction)))


def exact(prediction: str, reference: str, closed: bool, choices: Sequence[str] | None = None) -> float:
    """C: VILA-M3's accuracy: equality of the lower-cased, stripped strings, open and closed together.

    Faults. A full stop, an article or "2" for "two" is wrong, and a long reference is out of reach.
    """
    return float(prediction.strip().lower() == reference.strip().lower())


def closed_mc(prediction: str, reference: str, closed: bool, choices: Sequence[str] | None = None) -> float | None:
    """D: the closed subset as multiple choice: a leading letter, else the one option that the text names as words.

    None for open questions: they are not in this number. The choices of a yes/no question are ("yes", "no").
    Papers differ in what they do when no option or several are named; here that is wrong.

    Faults. It leaves the open half out, and its chance level is 50 % on yes/no.
    """
    if not closed:
        return None
    right = words(reference)
    options = tuple(choices or (("yes", "no") if right in (("yes",), ("no",)) else ()))
    letter = _letter_choice(prediction, options)
    if letter is not None:
        return float(letter == right)
    said = words(prediction)
    named = {words(option) for option in (*options, reference) if _contains(said, words(option))}
    longest = {name for name in named if not any(name != other and _contains(other, name) for other in named)}
    return float(longest == {right})


def _contains(said: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return bool(part) and any(said[i : i + len(part)] == part for i in range(len(said) - len(part) + 1))


def token_f1(prediction: str, reference: str, closed: bool, choices: Sequence[str] | None = None) -> float:
    """F: F1 of the two bags of words, open and closed together, as the MedGemma card reports it.

    Faults. "not present" has two thirds of "present"; a closed answer with an explanation is punished for its length.
    """
    said, right = Counter(_published_words(prediction)), Counter(_published_words(reference))
    shared = sum((said & right).values())
    return 2 * shared / (said.total() + right.total()) if shared else 0.0


Scorer = Callable[[str, str, bool, Sequence[str] | None], float | None]
PUBLISHED: dict[str, Scorer] = {
    "llava-med": llava_med,
    "llava-med-batch": llava_med_batch,
    "exact": exact,
    "closed-mc": closed_mc,
    "token-f1": token_f1,
}
"""The published definitions by name. Every scorer takes (prediction, reference, closed, choices)."""

SPLIT_BY_CLOSED = frozenset({"llava-med", "llava-med-batch"})
"""Definitions that are two numbers, open and closed, with different rules: they are never averaged."""

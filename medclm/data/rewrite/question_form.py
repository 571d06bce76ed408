"""What a question asks: yes or no, or something open, and about which topic."""

from __future__ import annotations

from medclm.data.rewrite.lexicon import Token, lexicon


def is_question(text: str, words: list[str]) -> bool:
    """A question mark at the end, or an imperative at the start."""
    return text.rstrip().endswith("?") or bool(words and words[0] in lexicon().form["imperative"])


def is_polar(words: list[str], tokens: list[Token]) -> bool:
    """Whether the answer is yes or no."""
    if set(words) & lexicon().form["whether"]:
        return True
    if any(token.kind.startswith("asks-") for token in tokens):
        return False
    for at, word in enumerate(words):
        if word in lexicon().form["wh"] and (
            at == 0 or words[at - 1] in lexicon().form["leads"] or (word != "which" and word != "where")
        ):
            return False
    starts = [
        at
        for at, word in enumerate(words)
        if word in lexicon().form["auxiliary"] and (at == 0 or words[at - 1] in (",", ":", "and"))
    ]
    if not starts:
        return (
            not set(words) & lexicon().form["imperative"]
            and words[-1:] == ["?"]
            and not set(words) & lexicon().form["wh"]
        )
    return not _offers_two(tokens)


def _offers_two(tokens: list[Token]) -> bool:
    """ "Is the nodule or the mass larger?" has a name for an answer, unless "than" says which is meant."""
    names = [i for i, token in enumerate(tokens) if token.kind == "finding"]
    if len(names) < 2 or any(token.text == "than" for token in tokens):
        return False
    return any(token.text == "or" for token in tokens[names[0] : names[1]])


def topic_of(tokens: list[Token], polar: bool) -> str:
    """The one thing that is asked for; the first that applies of a fixed order."""
    kinds = {token.kind for token in tokens}
    asked = {token.value for token in tokens if token.kind == "topic"}
    two = len({token.value for token in tokens if token.kind == "finding"}) > 1
    if "prior" in kinds or "asks-change" in kinds or (not two and "change" in asked):
        return "change"
    if polar:
        return "same" if two and ("same" in kinds or "where" in asked) else "polar"
    if two:
        larger = any(token.kind == "compare" and token.value in ("larger", "smaller") for token in tokens)
        return "larger" if larger else "direction"
    for topic, own in (("side", "asks-side"), ("zone", "asks-zone"), ("zone", "zone-word"), ("attribute", "key")):
        if own in kinds:
            return topic
    if {token.kind for token in tokens} >= {"axis", "number"}:
        return "where"
    for topic in ("side", "size", "count"):
        if topic in asked:
            return topic
    named = kinds & {"finding", "abnormal", "normal"}
    if "view" in asked and not named:
        return "view"
    if "finding" in kinds or "where" in asked - _found(tokens):
        return "where"
    return "what" if named or _found(tokens) else "view" if "view" in asked else "where"


def _found(tokens: list[Token]) -> set[str]:
    """{"where"} when "found" or "report" asks for what is there and no place is asked for."""
    texts = {token.text for token in tokens}
    asks_place = any(token.kind == "topic" and token.value == "where" and token.text != "find" for token in tokens)
    return {"where"} if texts & {"found", "report", "find"} and not asks_place else set()

"""Which concepts of a text are denied: every negation governs what it is attached to (in the manner of NegEx, Chapman
et al., J Biomed Inform 2001: forwards or backwards within its clause, on through a list)."""

from __future__ import annotations

from medclm.data.rewrite.lexicon import Token

GOVERNED = frozenset({"finding", "abnormal", "normal", "nothing", "compare", "value", "key", "change", "same"})
HEADS = frozenset({"finding", "abnormal"})
_ENDS = frozenset(".;?!:")
_BREAKS = frozenset({"but", "however", "although", "though", "while", "whereas", "yet", "that"})
_LISTED = frozenset({"or", "and", "any", "of", "a", "an", "the", "either", "other"})
_ARTICLES = frozenset({"a", "an", "the"})


def denied(tokens: list[Token]) -> tuple[list[bool], int]:
    """(whether each token is denied, how many negations govern nothing). Two negations of one token cancel out."""
    flags = [False] * len(tokens)
    loose = 0
    for at, token in enumerate(tokens):
        if token.kind != "negation":
            continue
        start, stop = _clause(tokens, at)
        forward = _forward(tokens, at, stop)
        backward = _backward(tokens, at, start)
        beside = at + 1 < stop and tokens[at + 1].kind in GOVERNED  # "absent calcification"
        found = (backward or forward) if token.value == "after" and not beside else (forward or backward)
        for index in found:
            flags[index] = not flags[index]
        loose += not found
    return flags, loose


def _clause(tokens: list[Token], at: int) -> tuple[int, int]:
    """Start and stop of the clause around a token."""
    edges = [i for i, token in enumerate(tokens) if token.text in _ENDS or token.text in _BREAKS]
    return max((i + 1 for i in edges if i < at), default=0), min((i for i in edges if i > at), default=len(tokens))


def _forward(tokens: list[Token], at: int, stop: int) -> list[int]:
    """The concept that follows, with its modifiers' head and the rest of its list."""
    first = next((i for i in range(at + 1, stop) if tokens[i].kind in GOVERNED or tokens[i].kind == "negation"), None)
    if first is None or tokens[first].kind == "negation" or _away(tokens, at, first):
        return []
    found = _chain(tokens, first, stop)
    at = found[-1] + 1
    while at < stop and (nxt := _next_in_list(tokens, at, stop, tokens[found[0]].kind)) is not None:
        more = _chain(tokens, nxt, stop)
        found += more
        at = more[-1] + 1
    return found


def _away(tokens: list[Token], at: int, first: int) -> bool:
    """Whether a comma or an organ stands between "not" and the next concept: it then speaks of something else."""
    between = tokens[at + 1 : first]
    return any(token.text == "," for token in between) or any(
        token.kind in ("organ", "side", "zone") and tokens[first].kind not in HEADS for token in between
    )


def _chain(tokens: list[Token], first: int, stop: int) -> list[int]:
    """Adjacent concepts are one: of "abnormal finding" or "solid nodule" the heads are denied, else the first."""
    last = first
    while last + 1 < stop and tokens[last + 1].kind in GOVERNED:
        last += 1
    heads = [i for i in range(first, last + 1) if tokens[i].kind in HEADS]
    return heads or [first]


def _next_in_list(tokens: list[Token], at: int, stop: int, kind: str) -> int | None:
    """The next member of a list ("no nodule, mass or effusion"); an article after "and" starts something new."""
    joined = False
    for i in range(at, stop):
        token = tokens[i]
        if token.kind == kind or (token.kind in HEADS and kind in HEADS):
            return i if joined else None
        if token.text not in _LISTED and token.text != ",":
            return None
        if token.text in _ARTICLES and tokens[i - 1].text in ("and", ","):
            return None
        joined = joined or token.text in ("or", "and", ",")
    return None


def _backward(tokens: list[Token], at: int, start: int) -> list[int]:
    """The nearest concept before; of two that are joined ("nodule and mass are absent") both."""
    last = next((i for i in range(at - 1, start - 1, -1) if tokens[i].kind in GOVERNED), None)
    if last is None:
        return []
    found = [last]
    i = last - 1
    while i >= start and (tokens[i].text in _LISTED or tokens[i].text == "," or tokens[i].kind in HEADS):
        if tokens[i].kind == tokens[last].kind and tokens[last].kind in HEADS:
            found.append(i)
        i -= 1
    return found

"""The verifier against honest rewordings and planted lies, tuned and held out, and against the templates."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from medclm.data.questions import templates
from medclm.data.rewrite import same_facts
from medclm.data.rewrite.facts import facts_of
from tests.data.rewrite.lies import planted

HERE = Path(__file__).parent
MOST_REFUSED, LEAST_CAUGHT = 0.05, 0.99
FIVE = ("wrong-side", "other-organ", "invented-finding", "changed-number", "dropped-negation")
FILLED = {
    "finding": "nodule", "a_finding": "a nodule", "organ": "left lower lobe", "a": "nodule", "b": "mass",
    "across": "30", "down": "45", "attribute": "margin",
}  # fmt: skip


def read(name: str) -> list[dict]:
    return yaml.safe_load((HERE / f"{name}.yaml").read_text())


def judge(entry: dict, text: str) -> str | None:
    return same_facts(entry["original"], text, tuple(entry.get("about", ())))


@pytest.mark.parametrize("name", ["corpus", "corpus_heldout"])
def test_honest_rewordings_are_accepted(name):
    pairs = [(entry, text) for entry in read(name) for text in entry["honest"]]
    refused = [(entry["original"], text, why) for entry, text in pairs if (why := judge(entry, text))]
    assert len(refused) <= MOST_REFUSED * len(pairs), refused


@pytest.mark.parametrize("name", ["corpus", "corpus_heldout"])
def test_planted_lies_are_caught(name):
    made, missed = Counter(), Counter()
    for entry in read(name):
        for text in (entry["original"], *entry["honest"]):
            for kind, lie in planted(text):
                made[kind] += 1
                missed[kind] += judge(entry, lie) is None
    assert made.total() > 2000
    for kind in made:
        assert missed[kind] <= (1 - LEAST_CAUGHT) * made[kind], (kind, missed[kind], made[kind])
    assert all(made[kind] >= 30 for kind in FIVE)


@pytest.mark.parametrize("part", ["tuned", "heldout"])
def test_lies_written_by_hand_are_caught(part):
    lies = read("lies")[part]
    missed = [lie for lie in lies if judge(lie, lie["lie"]) is None]
    assert len(missed) <= (1 - LEAST_CAUGHT) * len(lies), missed


def test_the_corpus_is_large_enough():
    entries = read("corpus") + read("corpus_heldout")
    assert len(entries) >= 150
    assert len({text for entry in entries for text in entry["honest"]}) >= 400
    assert len(read("lies")["tuned"]) + len(read("lies")["heldout"]) >= 150


def test_wordings_of_one_type_are_rewordings_of_each_other_and_of_no_other_type():
    kinds = [kind for kind in templates() if kind != "options" and not kind.startswith("knowledge")]
    types = {kind: [text.format(**FILLED) for text in templates()[kind]] for kind in kinds}
    same = [pair for texts in types.values() for pair in itertools.permutations(texts, 2)]
    refused = [(x, y, why) for x, y in same if (why := same_facts(x, y))]
    assert len(refused) <= MOST_REFUSED * len(same), refused[:20]
    other = [(x, y) for one, two in itertools.permutations(types.values(), 2) for x, y in itertools.product(one, two)]
    missed = [pair for pair in other if same_facts(*pair) is None]
    assert len(missed) <= (1 - LEAST_CAUGHT) * len(other), missed[:20]


def test_every_text_says_what_it_says():
    for entry in read("corpus") + read("corpus_heldout"):
        for text in (entry["original"], *entry["honest"]):
            assert same_facts(text, text) is None


@pytest.mark.parametrize(
    ("original", "reworded", "code"),
    [
        ("There is a nodule in the left lung.", "There is a nodule in the right lung.", "side"),
        ("There is a nodule in the left lung.", "There is a nodule in the left kidney.", "organ"),
        ("There is a nodule in the left lung.", "There is a mass in the left lung.", "finding"),
        ("There is a nodule in the left lung.", "There is possibly a nodule in the left lung.", "hedge"),
        ("There is a nodule in the left lung.", "There is no nodule in the left lung.", "finding"),
        ("There is a nodule in the left lung.", "There is a necrotic nodule in the left lung.", "unfamiliar-word"),
        ("There is a nodule in the left lung.", "Is there a nodule in the left lung?", "question"),
        ("There is a nodule in the left lung.", "There are nodules in the left lung.", "count"),
        ("There is a nodule in the left lung.", " ", "empty"),
        ("There is a nodule in the left lung.", "A nodule is seen. " * 20, "length"),
        ("The size is 12 mm.", "The size is 12 cm.", "number"),
        ("No finding is seen.", "A finding is seen.", "negation"),
        ("It lies in the left lung, upper zone.", "It lies in the left lung, lower zone.", "zone"),
        ("It is 9 mm, margin smooth, texture solid.", "It is 9 mm, margin solid, texture smooth.", "pairing"),
        ("Is there a nodule?", "Where is the nodule?", "question"),
    ],
)
def test_reasons(original, reworded, code):
    problem = same_facts(original, reworded)
    assert problem is not None
    assert problem.split(":")[0] == code


def test_it_may_be_named_where_it_is_known():
    assert same_facts("It lies in the liver.", "The mass lies in the liver.", ("mass",)) is None
    assert same_facts("It lies in the liver.", "The mass lies in the liver.") is not None
    assert same_facts("It lies in the liver.", "The cyst lies in the liver.", ("mass",)) is not None


def test_speed():
    entries = read("corpus")
    texts = [(entry["original"], text) for entry in entries for text in entry["honest"]]
    same_facts(*texts[0])
    facts_of.cache_clear()
    start = time.perf_counter()
    for original, text in texts:
        same_facts(original, text)
    assert len(texts) / (time.perf_counter() - start) > 2000

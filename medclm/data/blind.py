"""Answers without looking: how much of a dataset can be answered when nobody sees the picture.

Two blind answerers learn from the training split and answer the held-out ones, each type of question on its own:

* the *majority* answer of the type;
* a *text-only classifier* that reads the question and its choices: TF-IDF over words and pairs of words, and a linear
  support vector machine. What it gains over the majority is what the wording, or the finding that a question names,
  gives away.
"""

from __future__ import annotations

import hashlib
import heapq
import warnings
from collections import Counter, defaultdict
from typing import Any

from medclm.data.records import Question

MAX_TRAIN = 5000
"""Questions a type that the classifier learns from. Majority answers are counted over all questions."""
MAX_HELD_OUT = 2000
"""Questions a type that the classifier is scored on."""
MAX_CLASSES = 100
"""The classifier knows the most frequent answers of a type; any other answer counts as wrong."""

Pair = tuple[str, str]
"""(question text, answer)."""


class BlindTally:
    """Collects the questions of a dataset one by one: all answers as counts, and a sample of the texts.

    The sample holds the questions with the smallest hash of (seed, id), so it does not depend on the order of rows.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.answers: dict[str, dict[str, Counter]] = defaultdict(lambda: defaultdict(Counter))
        self._sample: dict[tuple[str, bool], list[tuple[int, str, str]]] = defaultdict(list)

    def add(self, question: Question, split: str) -> None:
        answer = normal_answer(question.answer)
        self.answers[question.type][split][answer] += 1
        is_train = split == "train"
        heap = self._sample[question.type, is_train]
        digest = hashlib.sha256(f"{self.seed}/{question.id}".encode()).digest()
        entry = (-int.from_bytes(digest[:8], "big"), _text(question), answer)
        if len(heap) < (MAX_TRAIN if is_train else MAX_HELD_OUT):
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)

    def accuracy(self) -> dict[str, Any]:
        """Both blind answerers, by type and over all.

        Returns:
            ``in_sample``: True when the dataset has no training split or nothing else; the majority answer is then
            scored on the questions it was counted on, and the classifier is not run. ``accuracy`` and ``n``: of the
            majority, over all held-out questions. ``text_only``: ``accuracy``, ``majority_accuracy`` and ``n`` on the
            sample, or None, and the caps. ``by_type``: ``answer``, ``n``, ``accuracy`` and ``text_only`` of each.
        """
        splits = {split for by_split in self.answers.values() for split in by_split}
        in_sample = "train" not in splits or splits == {"train"}
        by_type = {kind: self._of_type(kind, in_sample) for kind in sorted(self.answers)}
        n = sum(entry["n"] for entry in by_type.values())
        right = sum(entry.pop("right") for entry in by_type.values())
        return {
            "accuracy": right / n if n else None,
            "n": n,
            "in_sample": in_sample,
            "text_only": _overall([entry["text_only"] for entry in by_type.values() if entry["text_only"]]),
            "by_type": by_type,
        }

    def _of_type(self, kind: str, in_sample: bool) -> dict[str, Any]:
        counts = self.answers[kind]
        learnt: Counter = sum((c for split, c in counts.items() if in_sample or split == "train"), Counter())
        asked: Counter = sum((c for split, c in counts.items() if in_sample or split != "train"), Counter())
        answer, n = majority(learnt), asked.total()
        scored = None
        if not in_sample:
            train, held_out = self._pairs(kind, True), self._pairs(kind, False)
            if train and held_out:
                right = sum(a == b for a, (_, b) in zip(predict(train, held_out, self.seed), held_out, strict=True))
                baseline = sum(answer == given for _, given in held_out)
                scored = {
                    "accuracy": right / len(held_out), "majority_accuracy": baseline / len(held_out),
                    "n": len(held_out), "trained_on": len(train),
                }  # fmt: skip
        return {
            "answer": answer, "n": n, "right": asked[answer], "accuracy": asked[answer] / n if n else None,
            "text_only": scored,
        }  # fmt: skip

    def _pairs(self, kind: str, is_train: bool) -> list[Pair]:
        return [(text, answer) for _, text, answer in sorted(self._sample[kind, is_train])]


def normal_answer(answer: str) -> str:
    return " ".join(answer.lower().split()).strip(" .")


def majority(answers: Counter) -> str:
    """The most frequent answer, the first in the alphabet of equal ones; "" where there is none."""
    return min(answers, key=lambda answer: (-answers[answer], answer), default="")


def predict(train: list[Pair], held_out: list[Pair], seed: int) -> list[str]:
    """What the text-only classifier answers to the texts of ``held_out``, learnt from ``train`` alone."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    known = {answer for answer, _ in Counter(answer for _, answer in train).most_common(MAX_CLASSES)}
    texts, answers = zip(*(pair for pair in train if pair[1] in known), strict=True)
    if len(set(answers)) == 1:
        return [answers[0]] * len(held_out)
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
    classifier = make_pipeline(words, LinearSVC(random_state=seed))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # as many sizes as questions is no fault
        classifier.fit(texts, answers)
    return [str(answer) for answer in classifier.predict([text for text, _ in held_out])]


def _text(question: Question) -> str:
    return " ".join([question.question, *(question.choices or ())])


def _overall(scored: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Over the sampled questions of all types."""
    n = sum(entry["n"] for entry in scored)
    if not n:
        return None
    caps = {"max_train": MAX_TRAIN, "max_held_out": MAX_HELD_OUT, "max_classes": MAX_CLASSES}
    over = {key: sum(entry[key] * entry["n"] for entry in scored) / n for key in ("accuracy", "majority_accuracy")}
    return {**over, "n": n, "caps_per_type": caps}

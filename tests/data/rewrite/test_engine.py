"""The cache around an engine, and the choice of an engine."""

from __future__ import annotations

import pytest

from medclm import storage
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.engine import Cached, make_engine
from medclm.errors import UsageError


def prompt(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


class Shout:
    """An engine: upper case; it fails for what starts with "bad" and dies at "die"."""

    name = "shout"

    def __init__(self, parameters=None) -> None:
        self.parameters = parameters or {}
        self.seen: list[str] = []

    def complete(self, prompts, done):
        answers = []
        for n, messages in enumerate(prompts):
            text = messages[-1]["content"]
            self.seen.append(text)
            if text == "die":
                raise RuntimeError("killed")
            answer = None if text.startswith("bad") else text.upper()
            answers.append(answer)
            if answer is not None:
                done(n, answer)
        return answers


@pytest.mark.parametrize("folder", ["tmp", "memory://reword-cache"])
def test_nothing_is_asked_twice(folder, tmp_path):
    folder = str(tmp_path) if folder == "tmp" else folder
    prompts = [prompt(text) for text in ("a", "b", "a", "bad")]
    first = Shout()
    told = []
    assert Cached(first, folder).complete(prompts, lambda n, answer: told.append((n, answer))) == ["A", "B", "A", None]
    assert first.seen == ["a", "b", "bad"]
    assert told == [(0, "A"), (1, "B"), (2, "A")]
    again = Shout()
    assert Cached(again, folder).complete(prompts, lambda n, answer: None) == ["A", "B", "A", None]
    assert again.seen == ["bad"]  # a failure is not remembered
    assert Cached(again, folder).known(prompts) == ["A", "B", "A", None]


def test_answers_before_a_crash_are_kept(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        Cached(Shout(), str(tmp_path)).complete([prompt("a"), prompt("die"), prompt("b")], lambda n, answer: None)
    again = Shout()
    Cached(again, str(tmp_path)).complete([prompt("a"), prompt("b")], lambda n, answer: None)
    assert again.seen == ["b"]


def test_other_parameters_are_another_answer(tmp_path):
    Cached(Shout({"temperature": 0}), str(tmp_path)).complete([prompt("a")], lambda n, answer: None)
    other = Shout({"temperature": 1})
    Cached(other, str(tmp_path)).complete([prompt("a")], lambda n, answer: None)
    assert other.seen == ["a"]
    assert len(storage.list_files(tmp_path, "*/*.json")) == 2


@pytest.mark.parametrize("settings", [{}, {"engine": "openai"}, {"model": "x"}])
def test_an_engine_needs_a_name_and_a_model(settings):
    with pytest.raises(UsageError, match="an engine and a model"):
        make_engine(RewordConfig(**settings))

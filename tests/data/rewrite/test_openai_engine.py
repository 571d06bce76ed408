"""The openai client against a real endpoint on loopback: faults, limits, keys, the cache."""

from __future__ import annotations

import pytest

from medclm import storage
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.engine import make_engine
from medclm.data.rewrite.prompt import Bundle, RewordRequest, messages_of
from medclm.errors import MedclmError, UsageError
from tests.data.rewrite.server import Paraphraser


def prompts(n: int) -> list:
    return [messages_of(Bundle((RewordRequest("question", f"Is there a nodule of {i} mm?"),))) for i in range(n)]


def engine(server, **more):
    known = {"engine": "openai", "model": "paraphraser", "base_url": server.url, "retries": 3, "timeout_s": 10}
    return make_engine(RewordConfig(**{**known, **more}))


def ignore(n: int, answer: str) -> None:
    """No listener."""


def test_answers_come_in_order_and_concurrency_is_bounded(server):
    answers = engine(server, concurrency=3).complete(prompts(12), ignore)
    assert all(answer is not None and "Could you tell whether a nodule" in answer for answer in answers)
    assert server.calls == 12
    assert server.most_at_once <= 3
    assert set(server.seen.values()) == {1}


def test_retries_obey_retry_after(server):
    server.faults.extend([429, None])
    assert engine(server).complete(prompts(1), ignore)[0] is not None
    assert server.calls == 2
    assert server.times[1] - server.times[0] >= 0.95


def test_server_errors_and_slow_answers_are_tried_again(server):
    server.faults.extend([500, 503, "slow", None])
    assert engine(server, timeout_s=1).complete(prompts(1), ignore)[0] is not None
    assert server.calls == 4


def test_retries_are_bounded_and_the_rest_is_kept(server):
    server.faults.extend([500, 500])
    found = engine(server, retries=1, concurrency=1).complete(prompts(3), ignore)
    assert [answer is None for answer in found] == [True, False, False]
    assert server.calls == 4


def test_what_is_no_completion_is_no_answer(server):
    server.faults.extend(["html", 400])
    found = engine(server, concurrency=1).complete(prompts(3), ignore)
    assert [answer is None for answer in found] == [True, True, False]


def test_a_rerun_sends_nothing(server, tmp_path):
    first = engine(server, cache=str(tmp_path)).complete(prompts(5), ignore)
    calls = server.calls
    assert engine(server, cache=str(tmp_path)).complete(prompts(5), ignore) == first
    assert (calls, server.calls) == (5, 5)


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(monkeypatch, tmp_path):
    server = Paraphraser(key="sk-secret-123")
    try:
        monkeypatch.setenv("MY_KEY", "sk-secret-123")
        settings = {"api_key_variable": "MY_KEY", "cache": str(tmp_path)}
        assert engine(server, **settings).complete(prompts(1), ignore)[0] is not None
        kept = b"".join(storage.read_bytes(path) for path in storage.list_files(tmp_path, "**/*.json"))
        assert kept
        assert b"secret" not in kept
        monkeypatch.setenv("MY_KEY", "wrong")
        with pytest.raises(MedclmError, match="refuses the request") as caught:
            engine(server, api_key_variable="MY_KEY").complete(prompts(8), ignore)
        assert "MY_KEY" in caught.value.details["remedy"]
    finally:
        server.stop()


def test_an_unknown_model_stops_the_job(server):
    with pytest.raises(MedclmError, match="no such model"):
        engine(server, model="other").complete(prompts(2), ignore)


def test_an_endpoint_that_is_not_there_stops_the_job():
    server = Paraphraser()
    gone = engine(server, retries=0, timeout_s=2)
    server.stop()
    server.socket.close()
    with pytest.raises(MedclmError, match="cannot be reached"):
        gone.complete(prompts(2), ignore)


def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="needs a key"):
        make_engine(RewordConfig(engine="openai", model="gpt"))

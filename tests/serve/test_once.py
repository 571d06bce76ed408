"""Idempotency keys: one computation, the same answer, and nothing kept of a failure."""

from __future__ import annotations

import asyncio

import pytest
from fastapi.testclient import TestClient

from medclm.serve.api import Limits, make_api
from medclm.serve.guards import ApiError
from medclm.serve.once import Once
from tests.serve.local import Local


class Counted:
    """Work that counts itself, fails where told, and takes two turns of the loop."""

    def __init__(self) -> None:
        self.runs = 0
        self.fail = False

    async def __call__(self) -> int:
        self.runs += 1
        await asyncio.sleep(0.01)
        if self.fail:
            raise ApiError(503, "away")
        return self.runs


def test_the_same_key_works_once():
    async def run() -> None:
        once, work = Once[int](), Counted()
        assert await asyncio.gather(*[once.run("a", b"x", work) for _ in range(5)]) == [1] * 5
        assert await once.run("b", b"x", work) == 2
        assert await once.run(None, b"x", work) == 3
        assert await once.run("a", b"x", work) == 1
        with pytest.raises(ApiError) as caught:
            await once.run("a", b"y", work)
        assert caught.value.status == 409

    asyncio.run(run())


def test_a_client_that_leaves_does_not_stop_it_and_failures_are_not_kept():
    async def run() -> None:
        once, work = Once[int](), Counted()
        first = asyncio.ensure_future(once.run("a", b"x", work))
        await asyncio.sleep(0)
        first.cancel()
        assert await once.run("a", b"x", work) == 1
        work.fail = True
        with pytest.raises(ApiError):
            await once.run("c", b"x", work)
        work.fail = False
        assert await once.run("c", b"x", work) == 3

    asyncio.run(run())


def test_over_http(predictor, png):
    backend = Local(predictor)
    client = TestClient(make_api(backend, Limits(name="tiny", max_new_tokens=4)))

    def ask(key: str, question: str = "Is it?"):
        headers = {"idempotency-key": key}
        return client.post("/v1/predict", files={"file": png}, data={"question": question}, headers=headers)

    answers = [ask("one").json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert backend.calls == 1
    assert ask("one", "Is it not?").status_code == 409
    assert ask("two").status_code == 200
    assert backend.calls == 2

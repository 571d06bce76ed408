"""Continuous batching: every request says what plain ``generate`` says for it alone, whatever runs beside it."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
import torch

from medclm.errors import MedclmError
from medclm.serve.engine import Engine, FullError, LateError
from medclm.serve.predictor import Request
from medclm.train.collate import FORCED


def plain(predictor, request) -> str:
    """The text by Hugging Face ``generate``, one request, no cache of ours."""
    prepared = predictor.preparer.prepare(request)
    inputs = predictor.inputs([prepared])
    pixels = {name: torch.from_numpy(array) for name, array in prepared.pictures[0].arrays.items()}
    arguments = {k: v for k, v in inputs.items() if k != "mm_encoder_outputs"} | pixels
    with torch.inference_mode():
        ids = predictor.model.generate(**arguments, max_new_tokens=request.max_new_tokens, do_sample=False)
    new = ids[0, inputs["input_ids"].shape[1] :]
    return FORCED[request.mode] + predictor.tokenizer.decode(new, skip_special_tokens=True)


def some(picture, count: int) -> list[Request]:
    """Requests of different lengths, limits and pictures."""
    words = ["Is there a nodule?", "Where is the effusion that was seen in the earlier picture of this patient?", "x"]
    return [
        Request(picture(n % 4), words[n % 3], ("reason", "answer")[n % 2], max_new_tokens=3 + 5 * (n % 5))
        for n in range(count)
    ]


@pytest.fixture
def endless(predictor, picture):
    """A request whose text has not ended after 1,500 tokens."""
    return predictor.preparer.prepare(Request(picture(3), "x", "answer", max_new_tokens=1500))


@pytest.fixture
def engine(predictor):
    """A function from options to a running engine, closed at the end."""
    made = []

    def make(**options) -> Engine:
        made.append(Engine(predictor, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("continuous", [True, False])
def test_equals_generate_one_by_one(predictor, engine, picture, continuous):
    """Sixteen requests through four rows, arriving in three bursts: exact texts, by either way of batching."""
    requests = some(picture, 16)
    running = engine(max_rows=4, max_joining=2, continuous=continuous)
    tickets = []
    for burst in (requests[:6], requests[6:11], requests[11:]):
        tickets += [running.submit(predictor.preparer.prepare(request)) for request in burst]
        time.sleep(0.01)
    texts = [ticket.answer.result(30).text for ticket in tickets]
    assert texts == [plain(predictor, request) for request in requests]
    stats = running.stats()
    assert (stats.admitted, stats.ended, stats.failed, stats.waiting, stats.running) == (16, 16, 0, 0, 0)
    if continuous:
        assert 1 < stats.row_steps / stats.steps <= 4


def test_a_new_request_joins_a_running_batch(predictor, engine, picture):
    running = engine(max_rows=2)
    long, short = (
        Request(picture(3), "x", "answer", max_new_tokens=200),
        Request(picture(2), "Is it?", max_new_tokens=2),
    )
    first = running.submit(predictor.preparer.prepare(long))
    while not first.started:
        time.sleep(0.001)
    second = running.submit(predictor.preparer.prepare(short))
    assert second.answer.result(30).completion_tokens == 2
    assert not first.answer.done() or first.answer.result().completion_tokens < 200


def test_cancelled_requests_free_their_rows(predictor, engine, endless, picture):
    running = engine(max_rows=1)
    first, waiting = running.submit(endless), running.submit(endless)
    while not first.started:
        time.sleep(0.001)
    waiting.cancel()
    first.cancel()
    last = running.submit(predictor.preparer.prepare(Request(picture(1), "Is it?", max_new_tokens=2)))
    assert last.answer.result(10).completion_tokens == 2
    for ticket in (first, waiting):
        with pytest.raises(CancelledError):
            ticket.answer.result(1)
    assert running.stats().completion_tokens < 1000


def test_deadline_and_full_queue(engine, endless):
    running = engine(max_rows=1, max_waiting=1)
    first = running.submit(endless, deadline=time.monotonic() + 0.2)
    while not first.started:
        time.sleep(0.001)
    second = running.submit(endless, deadline=time.monotonic() + 0.1)
    with pytest.raises(FullError):
        running.submit(endless)
    for ticket in (first, second):
        with pytest.raises(LateError):
            ticket.answer.result(5)
    running.close()
    with pytest.raises(MedclmError, match="closed"):
        running.submit(endless)


def test_a_broken_request_spoils_only_itself(predictor, engine, picture):
    running = engine(max_rows=4)
    good = predictor.preparer.prepare(Request(picture(1), "Is it?", max_new_tokens=4))
    bad = replace(good, ids=good.ids[:3])
    tickets = [running.submit(one) for one in (good, bad, good)]
    assert tickets[0].answer.result(10) == tickets[2].answer.result(10)
    with pytest.raises(ValueError, match="tokens"):
        tickets[1].answer.result(10)
    assert running.stats().failed == 1


def test_draws_do_not_depend_on_neighbours(predictor, engine, picture):
    running = engine(max_rows=3)
    drawn = predictor.preparer.prepare(Request(picture(1), "Is it?", "answer", 12, temperature=1.3, seed=5, top_p=0.9))
    alone = running.submit(drawn).answer.result(10)
    others = [predictor.preparer.prepare(request) for request in some(picture, 4)]
    tickets = [running.submit(one) for one in (others[0], drawn, *others[1:], drawn)]
    assert tickets[1].answer.result(10).text == tickets[-1].answer.result(10).text == alone.text


def test_token_log_probs_come_with_the_answer(predictor, picture):
    found = predictor.predict([Request(picture(1), "Is it?", "answer", 6)])[0]
    assert "Answer:" + "".join(text for text, _ in found.tokens) == found.text
    assert all(value <= 0 for _, value in found.tokens)

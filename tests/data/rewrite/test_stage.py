"""The actor over the annotator's batches, against the real endpoint, with and without Ray."""

from __future__ import annotations

import json

import pytest

from medclm.data.annotate import assemble
from medclm.data.batches import rows_of
from medclm.data.records import Record
from medclm.data.rewrite import same_facts
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.stage import Reword
from medclm.data.verify import CHECKS, check
from medclm.errors import MedclmError


def assembled(table) -> Record:
    """The record of the first row."""
    record, lost = assemble(rows_of(table), 0)
    assert record is not None
    assert lost == []
    return record


def settings(server, **more) -> RewordConfig:
    known = {"engine": "openai", "model": "paraphraser", "base_url": server.url, "retries": 3, "timeout_s": 10}
    return RewordConfig(**{**known, **more})


def test_questions_are_reworded_and_everything_else_stays(server, batch, asked):
    stage, given = Reword(settings(server)), batch()
    out = stage(given)
    record = assembled(out)
    assert record.model_copy(update={"questions": ()}) == asked.model_copy(update={"questions": ()})
    changed = 0
    for old, new in zip(asked.questions, record.questions, strict=True):
        about = ("nodule",)
        assert (new.id, new.type, new.answer, new.choices, new.finding_ids) == (
            old.id, old.type, old.answer, old.choices, old.finding_ids,
        )  # fmt: skip
        assert [(s.step, s.box_xyxy) for s in new.reasoning] == [(s.step, s.box_xyxy) for s in old.reasoning]
        texts = [(a.text, b.text) for a, b in zip(old.reasoning, new.reasoning, strict=True)]
        assert all(same_facts(a, b, about) is None for a, b in [(old.question, new.question), *texts])
        changed += sum(a != b for a, b in [(old.question, new.question), *texts])
        assert new.checks == CHECKS == check(record, new)[0]
        assert new.generator in ("openai:paraphraser", "template")
    assert changed == stage.stats.texts["accepted"] > 15
    assert json.loads(out["reworded"][0].as_py()) == dict(stage.stats.texts)
    assert out.slice(1).select(["record", "reworded"]).to_pylist() == [{"record": "", "reworded": "{}"}]


def test_lies_are_refused(server, batch):
    server.lies = True
    stage, given = Reword(settings(server)), batch()
    record = assembled(stage(given))
    assert stage.stats.texts["side"] > 5
    before = assembled(given)
    texts = " ".join(step.text for question in record.questions for step in question.reasoning)
    wanted = " ".join(step.text for question in before.questions for step in question.reasoning)
    assert texts.count("right") == wanted.count("right")


def test_faults_cost_a_rewording_and_nothing_else(server, batch):
    server.faults.extend([429, 500, "garbage", "html", "slow"])
    stage, given = Reword(settings(server, timeout_s=1)), batch()
    record = assembled(stage(given))
    before = assembled(given)
    assert [q.id for q in record.questions] == [q.id for q in before.questions]
    assert stage.stats.texts["malformed"] > 0
    assert stage.stats.texts["no-answer"] > 0
    assert stage.stats.texts["accepted"] > 5


def test_a_rerun_asks_nothing_and_gives_the_same(server, batch, tmp_path):
    config = settings(server, cache=str(tmp_path / "cache"))
    first = Reword(config)(batch(3))
    calls = server.calls
    assert len(server.seen) == calls  # three equal images: every prompt once
    assert Reword(config)(batch(3))["record"] == first["record"]
    assert server.calls == calls


def test_an_answer_that_cannot_be_read_is_asked_for_again(server, batch, tmp_path):
    config = settings(server, cache=str(tmp_path / "cache"))
    server.faults.append("garbage")
    first = Reword(config)
    first(batch())
    assert first.stats.texts["malformed"] > 0
    calls, again = server.calls, Reword(config)
    again(batch())
    assert (server.calls, again.stats.texts["malformed"]) == (calls + 1, 0)


def test_the_cost_limit_refuses_before_anything_is_sent(server, batch, tmp_path):
    prices = {"price_per_million_in": 1000.0, "price_per_million_out": 1000.0, "cache": str(tmp_path)}
    with pytest.raises(MedclmError, match="more than allowed"):
        Reword(settings(server, max_cost=0.01, **prices))(batch())
    assert server.calls == 0
    paid = Reword(settings(server, max_cost=100.0, **prices))
    paid(batch())
    assert paid.stats.cost > 0.01
    Reword(settings(server, max_cost=0.0, **prices))(batch())  # all cached: free


def test_questions_alone(server, batch, asked):
    stage = Reword(settings(server, steps=False))
    record = assembled(stage(batch()))
    assert [q.reasoning for q in record.questions] == [q.reasoning for q in asked.questions]
    assert stage.stats.texts.total() == sum(q.type != "knowledge" for q in asked.questions)


def test_as_a_ray_data_actor(ray_cluster, server, batch, tmp_path):
    given = batch(3)
    config = settings(server, cache=str(tmp_path))
    rows = (
        ray_cluster.data.from_arrow(given)
        .map_batches(
            Reword,
            fn_constructor_kwargs={"config": config},
            compute=ray_cluster.data.ActorPoolStrategy(size=1),
            batch_size=2,
            batch_format="pyarrow",
        )
        .take_all()
    )
    rows.sort(key=lambda row: row["index"])
    assert [row["record"] for row in rows] == Reword(config)(given)["record"].to_pylist()
    assert [row["png"] for row in rows] == given["png"].to_pylist()

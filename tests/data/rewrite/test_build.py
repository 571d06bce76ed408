"""A build whose questions a real endpoint rewords, while it fails now and then; made again, nothing is asked twice."""

from __future__ import annotations

import pytest

from medclm.config import BuildConfig
from medclm.data import pipeline, shards
from medclm.errors import MedclmError
from medclm.samples.phantom import write_phantom


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, 6, seed=4, size=64)
    return out


def config(phantom, out, url, **reword) -> BuildConfig:
    known = {"engine": "openai", "model": "paraphraser", "base_url": url, "retries": 3, "timeout_s": 10}
    return BuildConfig(
        images=f"{phantom}/images", annotations=f"{phantom}/annotations.json", segmenter=f"masks:{phantom}/masks",
        out=str(out), dataset="phantom", shard_rows=3, batch_size=3, max_questions=4, reword={**known, **reword},
    )  # fmt: skip


def test_reworded_questions_pass_every_check_and_a_second_build_asks_nothing(ray_cluster, server, phantom, tmp_path):
    server.faults.extend([429, 500, None])
    said: list[str] = []
    settings = config(phantom, tmp_path / "a", server.url, cache=str(tmp_path / "cache"))
    manifest = pipeline.build(settings, say=said.append)
    assert (manifest["rows"], manifest["rejected"]) == (6, {})
    assert said[0].startswith("Rewording with openai:paraphraser: ")
    assert manifest["reworded"]["accepted"] > 10
    asked = [q for r in shards.read_records(str(tmp_path / "a")) for q in r.questions]
    assert {q.generator for q in asked} == {"openai:paraphraser"}
    assert all(question.checks for question in asked)
    calls = server.calls
    again = pipeline.build(config(phantom, tmp_path / "b", server.url, cache=str(tmp_path / "cache")))
    assert server.calls == calls
    assert again["content_hash"] == manifest["content_hash"]


def test_a_price_above_the_limit_stops_before_anything_is_sent(ray_cluster, server, phantom, tmp_path):
    prices = {"price_per_million_in": 1e6, "price_per_million_out": 1e6, "max_cost": 5.0}
    with pytest.raises(MedclmError, match="would cost more than allowed"):
        pipeline.build(config(phantom, tmp_path, server.url, **prices))
    assert server.calls == 0

"""Request ids, the access log and the metrics page."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from medclm.serve.api import Limits, make_api
from medclm.serve.backend import Reply
from medclm.serve.engine import Stats
from medclm.serve.metrics import Metrics
from medclm.serve.predictor import Prediction
from tests.serve.local import Local


@pytest.fixture
def client(predictor):
    return TestClient(make_api(Local(predictor), Limits(name="tiny", max_new_tokens=4)))


def samples(text: str) -> dict[tuple, float]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_ids_log_and_counters(client, png, caplog):
    caplog.set_level(logging.INFO, logger="medclm.serve")
    headers = {"x-request-id": "ward-7.42"}
    answer = client.post("/v1/predict", files={"file": png}, data={"question": "Is it?"}, headers=headers)
    assert answer.headers["x-request-id"] == "ward-7.42"
    line = json.loads(caplog.records[-1].message)
    assert (line["id"], line["route"], line["status"], line["model"]) == ("ward-7.42", "/v1/predict", 200, "tiny")
    assert line["completion_tokens"] == answer.json()["usage"]["completion_tokens"]
    hostile = client.get("/healthz", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert len(hostile) == 32
    client.get("/no/such/path/of/jane")
    found = samples(client.get("/metrics").text)
    assert found["medclm_requests_total", "/v1/predict", "200", "tiny"] == 1
    assert found["medclm_requests_total", "-", "404", "other"] == 1
    assert found["medclm_tokens_total", "completion", "tiny"] == line["completion_tokens"]
    assert found["medclm_request_seconds_count", "/v1/predict"] == 1
    assert found["medclm_requests_in_flight",] == 1  # the request for this page itself


def test_engines_as_their_last_reply_told():
    metrics = Metrics()
    stats = Stats(waiting=3, running=2, steps=10, admitted=5, ended=3, failed=1, prompt_tokens=50,
                  completion_tokens=20, row_steps=18, feature_hits=4, feature_misses=1, feature_bytes=999)  # fmt: skip
    metrics.answered(Reply(Prediction("", "", 0.0, (), True), "r1", stats), "tiny")
    found = samples(metrics.text().decode())
    assert found["medclm_engine_waiting", "r1"] == 3
    assert found["medclm_engine_row_steps", "r1"] / found["medclm_engine_steps", "r1"] == 1.8
    assert found["medclm_engine_feature_bytes", "r1"] == 999


def test_readiness_and_card(client, predictor):
    assert client.get("/readyz").json() == {"status": "ready", "model": "tiny"}

    class Away(Local):
        async def ready(self):
            return False

        async def models(self):
            return {"<b>bold</b>": {"base": "tiny", "fingerprint": "0" * 16}}

    away = TestClient(make_api(Away(predictor), Limits()))
    assert away.get("/readyz").status_code == 503
    assert away.get("/readyz").json()["error"]["code"] == "not_ready"
    card = away.get("/card").text
    assert "&lt;b&gt;bold" in card
    assert "<b>" not in card
    assert "Research software, not a medical device." in card
    assert "<script" not in card

"""Requests made from the OpenAPI document: whatever schemathesis thinks of, there is no 500."""

from __future__ import annotations

import time

import pytest

from medclm.serve.api import Limits, make_api
from tests.serve.local import Local

schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
SECONDS = 12
"""All operations together."""


def test_no_request_from_the_document_is_a_500(predictor):
    app = make_api(Local(predictor), Limits(name="tiny", max_new_tokens=2, max_upload_bytes=100_000, patience_s=5))
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in document.get_all_operations()]
    assert {f"{o.method.upper()} {o.path}" for o in operations} == {
        "GET /healthz", "GET /readyz", "GET /v1/models", "GET /v1/models/{name}",
        "POST /v1/chat/completions", "POST /v1/predict", "POST /v1/render",
    }  # fmt: skip
    seen: list[int] = []
    for operation in operations:
        requests_of(operation, time.monotonic() + SECONDS / len(operations), seen)
    assert len(seen) > 50


def requests_of(operation, end: float, seen: list[int]) -> None:
    """Up to 60 requests of one operation, until the time is over."""
    from hypothesis import HealthCheck, Phase, given, settings

    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case):
        if time.monotonic() > end:
            return
        response = case.call()
        seen.append(response.status_code)
        assert response.status_code != 500, case.as_curl_command()
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    ask()

"""The HTTP API over a predictor in this process: shapes, limits, and a table of bad requests."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from openai.types.chat import ChatCompletionChunk
from PIL import Image

from medclm.serve.api import Limits, make_api
from medclm.serve.backend import Reply
from medclm.serve.guards import HEADERS, ApiError
from medclm.serve.images import from_data_uri
from medclm.serve.keys import hash_keys
from medclm.train.target import StepReader
from tests.serve.local import Local

LIMITS = Limits(name="tiny", max_new_tokens=12, max_upload_bytes=200_000, max_image_pixels=100_000)


class Full(Local):
    """A backend whose queue is full."""

    async def predict(self, call):
        raise ApiError(429, "too many requests are waiting; try again", code="queue_full")


@pytest.fixture(scope="module")
def client(predictor):
    return TestClient(make_api(Local(predictor), LIMITS), raise_server_exceptions=False)


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def turn(*parts, role="user"):
    return {"role": role, "content": list(parts)}


def text(words):
    return {"type": "text", "text": words}


def image(address):
    return {"type": "image_url", "image_url": {"url": address}}


def chat_body(address, **fields):
    return {"model": "tiny", "messages": [turn(text("Is there a nodule?"), image(address))], **fields}


def test_chat_completion(client, png):
    body = client.post("/v1/chat/completions", json=chat_body(uri(png), max_tokens=5)).json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"].startswith("Reasoning:\n")
    assert body["usage"]["completion_tokens"] <= 5
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["medclm"]["model"] == {
        "name": "tiny",
        "version": "0123456789abcdef",
        "base": "tiny",
        "adapter": None,
    }
    assert body["medclm"]["disclaimer"] == "Research software, not a medical device."
    short = client.post("/v1/chat/completions", json=chat_body(uri(png), mode="answer", max_tokens=999)).json()
    assert short["choices"][0]["message"]["content"].startswith("Answer:")
    assert 0 < short["medclm"]["confidence"] <= 1
    assert short["usage"]["completion_tokens"] <= LIMITS.max_new_tokens


def test_stream_adds_up_to_the_whole(client, png):
    whole = client.post("/v1/chat/completions", json=chat_body(uri(png))).json()
    body = chat_body(uri(png), stream=True, stream_options={"include_usage": True})
    response = client.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert said == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert chunks[-2]["medclm"] == whole["medclm"]
    steps = [c["medclm"]["step"] for c in chunks[:-2] if "medclm" in c]
    assert steps == whole["medclm"]["steps"][: len(steps)]
    assert chunks[-1]["usage"] == whole["usage"]


def test_a_step_comes_right_after_its_line(predictor, png):
    """The tiny model's frame is 32 x 32, the picture 48 x 40: a column is 1.5 pixels, a row 1.25."""

    class Said(Local):
        async def stream(self, call):
            reader = StepReader(call.request.size_hw, self.predictor.family)
            for piece in ["Reasoning:\n", "seed: a nodule [8 8 16 24]", "\nview: frontal", "\nAnswer: yes"]:
                yield piece
                for step in reader.add(piece):
                    yield step
            yield Reply((await self.predict(call)).prediction)

    client = TestClient(make_api(Said(predictor), LIMITS))
    lines = client.post("/v1/chat/completions", json=chat_body(uri(png), stream=True)).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[1:-3]]
    seen = [c.get("medclm") or c["choices"][0]["delta"]["content"] for c in chunks]
    assert seen == [
        "Reasoning:\n",
        "seed: a nodule [8 8 16 24]",
        "\nview: frontal",
        {"step": {"step": "seed", "text": "a nodule", "box_xyxy": [12.0, 10.0, 24.0, 30.0]}},
        "\nAnswer: yes",
        {"step": {"step": "view", "text": "frontal", "box_xyxy": None}},
    ]
    parsed = [ChatCompletionChunk.model_validate(c) for c in chunks]  # as the openai client does
    assert "".join(c.choices[0].delta.content or "" for c in parsed) == "".join(s for s in seen if isinstance(s, str))
    assert all(c["choices"][0]["finish_reason"] is None for c in chunks)


def test_newest_picture_and_last_question(client, png, picture):
    other = io.BytesIO()
    picture(9).save(other, "PNG")
    earlier = turn(text("What is it?"), image(uri(other.getvalue())))
    alone = client.post("/v1/chat/completions", json=chat_body(uri(png))).json()["choices"][0]["message"]
    last = turn(text("Is there a nodule?"), image(uri(png)))
    history = [{"role": "system", "content": "Be brief."}, earlier, {"role": "assistant", "content": "no"}, last]
    body = {"model": "tiny", "messages": history}
    assert client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"] == alone


def test_predict_returns_the_picture_that_the_model_saw(client, png):
    def ask(**params):
        form = {"question": "Is there a nodule?", "mode": "answer"}
        return client.post("/v1/predict", files={"file": ("a.png", png)}, data=form, params=params).json()

    body = ask(include_image=1)
    shown = Image.open(io.BytesIO(base64.b64decode(body["image"]["data"].removeprefix("data:image/png;base64,"))))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(Image.open(io.BytesIO(png))))
    assert (body["image"]["width"], body["image"]["height"]) == (48, 40)
    assert body["mode"] == "answer"
    assert ask()["image"]["data"] is None


def test_predict_takes_dicom(client):
    from pydicom.data import get_testdata_file

    with open(get_testdata_file("CT_small.dcm"), "rb") as file:
        files = {"file": ("../../etc/passwd", file.read())}
    body = client.post("/v1/predict", files=files, data={"question": "Where?", "window": "lung"}).json()
    assert (body["image"]["width"], body["image"]["height"]) == (128, 128)
    assert body["image"]["window"] == {"center": -600, "width": 1500, "name": "lung"}


def test_page_health_and_headers(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "Research software, not a medical device." in page.text
    assert "<script>" not in page.text
    assert "style=" not in page.text
    for path in ("/page/page.js", "/page/page.css", "/healthz", "/openapi.json", "/none"):
        response = client.get(path)
        assert response.status_code == (404 if path == "/none" else 200)
        for name, value in HEADERS.items():
            assert response.headers[name] == value
    assert client.get("/healthz").json() == {"status": "ok", "model": "tiny"}
    assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"


def test_keys(predictor, png):
    guarded = TestClient(make_api(Local(predictor), LIMITS, hash_keys(["first", "second"])))
    for header, status in [
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic first", 401),
        ("Bearer", 401),
        ("Bearer second", 200),
    ]:
        headers = {"Authorization": header} if header else {}
        for response in (
            guarded.get("/v1/models", headers=headers),
            guarded.post("/v1/predict", headers=headers, files={"file": png}, data={"question": "x"}),
            guarded.post("/v1/chat/completions", headers=headers, json=chat_body(uri(png))),
        ):
            assert response.status_code == status
            if status == 401:
                assert response.json()["error"]["type"] == "authentication_error"
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/").status_code == 200


def test_failure_in_the_middle_of_a_stream_is_told(predictor, png):
    class Broken(Local):
        async def stream(self, call):
            yield "Reasoning:"
            raise RuntimeError("secret detail")

    client = TestClient(make_api(Broken(predictor), LIMITS))
    response = client.post("/v1/chat/completions", json=chat_body(uri(png), stream=True))
    last, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line][-2:]
    assert json.loads(last)["error"]["type"] == "server_error"
    assert done == "[DONE]"
    assert "secret" not in response.text


def test_full_queue_is_429(predictor, png):
    client = TestClient(make_api(Full(predictor), LIMITS))
    response = client.post("/v1/chat/completions", json=chat_body(uri(png)))
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["type"] == "rate_limit_error"


def test_data_uri():
    assert from_data_uri("data:image/png;base64,aGk=", 10) == b"hi"
    assert from_data_uri("data:application/dicom;name=a;base64,aG k\n=", 10) == b"hi"
    with pytest.raises(ApiError) as caught:
        from_data_uri("data:image/png;base64,aGlaaaaaaaaaaaaaaaaaaaaaaaaaaa==", 3)
    assert caught.value.status == 413

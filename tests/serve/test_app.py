"""The application on real Ray Serve: the openai client, uploads, keys and batching."""

from __future__ import annotations

import base64
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from medclm.config import ServeConfig
from medclm.errors import UsageError
from medclm.serve.app import build_app, run_app, stop_app
from medclm.serve.keys import KEYS_VARIABLE

KEY = {"Authorization": "Bearer right"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def address(ray_cluster, model_dir, adapters):
    """A running application with one adapter beside its base; it wants the key ``right``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEYS_VARIABLE, "other, right")
        config = ServeConfig(
            model=str(model_dir),
            name="serve-test",
            adapters={"second": str(adapters[1])},
            port=free_port(),
            max_new_tokens=1500,
            max_replicas=1,
            max_ongoing_requests=16,
        )
        yield run_app(config)
        stop_app("serve-test")


@pytest.fixture(scope="module")
def client(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key="right", max_retries=0)


@pytest.fixture
def messages(png):
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    parts = [{"type": "text", "text": "Is there a nodule?"}, {"type": "image_url", "image_url": {"url": uri}}]
    return [{"role": "user", "content": parts}]


def test_openai_client(client, messages, predictor):
    assert [model.id for model in client.models.list()] == ["serve-test", "second"]
    assert client.models.retrieve("second").id == "second"
    whole = client.chat.completions.create(model="serve-test", messages=messages, max_tokens=16, logprobs=True)
    assert whole.choices[0].logprobs.content[0].logprob <= 0
    assert whole.choices[0].message.content.startswith("Reasoning:")
    assert whole.model_extra["medclm"]["mode"] == "reason"
    stream = client.chat.completions.create(model="serve-test", messages=messages, stream=True, max_tokens=16)
    chunks = list(stream)
    steps = [chunk.model_extra["medclm"]["step"] for chunk in chunks[:-1] if "medclm" in chunk.model_extra]
    assert steps == whole.model_extra["medclm"]["steps"][: len(steps)]
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 2
    answer = client.chat.completions.create(
        model="serve-test", messages=messages, max_tokens=16, extra_body={"mode": "answer"}
    )
    assert answer.choices[0].message.content.startswith("Answer:")


def test_openai_client_sees_errors(client, messages, address):
    messages[0]["content"][1]["image_url"]["url"] = "http://127.0.0.1/picture.png"
    with pytest.raises(openai.BadRequestError, match="never fetched"):
        client.chat.completions.create(model="serve-test", messages=messages)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt", messages=messages)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0).models.list()


def test_uploads(address, png, predictor):
    import io

    from PIL import Image
    from pydicom.data import get_testdata_file

    from medclm.serve.predictor import Request

    with open(get_testdata_file("CT_small.dcm"), "rb") as file:
        dicom = file.read()
    for data, size in [(png, (48, 40)), (dicom, (128, 128))]:
        form = {"question": "Is there a nodule?", "mode": "answer", "max_tokens": 16}
        url = f"{address}/v1/predict"
        response = httpx.post(
            url, files={"file": data}, data=form, headers=KEY, params={"include_image": 1}, timeout=60
        )
        body = response.json()
        assert response.status_code == 200
        assert (body["image"]["width"], body["image"]["height"]) == size
        shown = Image.open(io.BytesIO(base64.b64decode(body["image"]["data"].partition(",")[2])))
        direct = predictor.predict([Request(shown, "Is there a nodule?", "answer", 16)])[0]
        assert (body["answer"], body["text"]) == (direct.answer, direct.text)
        assert body["confidence"] == pytest.approx(direct.confidence, rel=1e-4)


def test_health_page_and_wrong_key(address, png):
    assert httpx.get(f"{address}/healthz").json() == {"status": "ok", "model": "serve-test"}
    page = httpx.get(f"{address}/")
    assert "Research software, not a medical device." in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    files, form = {"file": png}, {"question": "x"}
    refused = httpx.post(f"{address}/v1/predict", files=files, data=form, headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"


def test_requests_at_once_get_their_own_answers(address, picture, predictor):
    import io

    from medclm.serve.predictor import Request

    def ask(seed: int) -> str:
        buffer = io.BytesIO()
        picture(seed).save(buffer, "PNG")
        form = {"question": f"Is it number {seed}?", "mode": "answer", "max_tokens": 16}
        response = httpx.post(
            f"{address}/v1/predict", files={"file": buffer.getvalue()}, data=form, headers=KEY, timeout=60
        )
        return response.json()["text"]

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, range(12)))
    direct = predictor.predict([Request(picture(n), f"Is it number {n}?", "answer", 16) for n in range(12)])
    assert found == [prediction.text for prediction in direct]


def test_the_model_field_picks_the_adapter(client, messages, adapters, png):
    """Both answer at the same time, each as its predictor alone does."""
    import io

    from PIL import Image

    from medclm.serve.predictor import Predictor, Request

    def ask(name: str) -> str:
        answer = client.chat.completions.create(model=name, messages=messages, max_tokens=12)
        assert answer.model == name
        return answer.choices[0].message.content

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, ["second", "serve-test"] * 2))
    request = Request(Image.open(io.BytesIO(png)), "Is there a nodule?", max_new_tokens=12)
    alone = Predictor(adapters[1], "cpu", 1).predict([request])[0].text
    assert found[0] == found[2] == alone
    assert found[1] == found[3] != alone
    with pytest.raises(openai.NotFoundError):
        ask("third")


def test_a_client_that_leaves_frees_its_row(address, picture):
    """The long request of a client that is gone does not run to its end."""
    import io

    def metric(name: str) -> float:
        lines = httpx.get(f"{address}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def ask(question: str, tokens: int, timeout: float) -> None:
        out = io.BytesIO()
        picture(3).save(out, "PNG")
        form = {"question": question, "mode": "answer", "max_tokens": tokens}
        url = f"{address}/v1/predict"
        httpx.post(url, files={"file": out.getvalue()}, data=form, headers=KEY, timeout=timeout).raise_for_status()

    ask("x", 2, 30)
    before = metric("medclm_engine_row_steps")
    with pytest.raises(httpx.ReadTimeout):
        ask("x", 1500, 0.3)
    for _ in range(100):
        ask("x", 2, 30)
        if metric("medclm_engine_running") == 0:
            break
    assert metric("medclm_engine_running") == 0
    assert metric("medclm_engine_row_steps") - before < 1400
    assert httpx.get(f"{address}/readyz").json() == {"status": "ready", "model": "serve-test"}


def test_build_app_options():
    config = ServeConfig(model="m", min_replicas=2, max_replicas=5, num_gpus=0.5, max_ongoing_requests=7)
    front = build_app(config)
    model = front._bound_deployment.init_args[0]._bound_deployment
    scaling = model._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.get_target_ongoing_requests()) == (2, 5, 8)
    assert model.max_ongoing_requests == 7
    assert model.ray_actor_options["num_gpus"] == 0.5


def test_missing_model_fails_before_anything_starts(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        run_app(ServeConfig(model=str(tmp_path / "none")))

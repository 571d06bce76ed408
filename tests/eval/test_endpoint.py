"""An endpoint over real HTTP that times out, is busy, returns nonsense, and answers in 10,000 words."""

import json

import pytest

from medclm.config import EvalConfig
from medclm.errors import MedclmError, UsageError
from medclm.eval.endpoint import INSTRUCTION, Chat, Endpoint
from medclm.eval.run import evaluate
from tests.eval.chat_server import ChatServer
from tests.eval.test_benchmarks import names, row

QUICK = Endpoint("", concurrency=3, retries=1, timeout_s=0.3)


@pytest.fixture
def server():
    found = ChatServer(lambda question, has_image: "Answer: **Yes.**" if has_image else "no")
    yield found
    found.stop()


@pytest.fixture
def asked(vqa_rad):
    """Questions about two held-out images and one without a picture; the texts steer the server."""
    one, two, gone = names(True, 3)
    texts = ("plain", "garbage", "empty", "busy", "slow", "long", "refused")
    rows = [row(n, one, question=text) for n, text in enumerate(texts)]
    rows += [row(20, two, question="plain"), row(21, gone, question="plain"), row(30, names(False, 1)[0], answer="No")]
    return "vqa-rad:" + vqa_rad(rows, missing=(gone,))


def test_faults_are_counted_explained_and_asked_again(server, asked, tmp_path):
    found = evaluate(server.url, [asked], tmp_path / "o", EvalConfig(controls=["majority"]), endpoint=QUICK)
    benchmark = found["benchmarks"]["vqa-rad"]
    # plain twice, busy and long (which is wrong) were answered; garbage, empty, slow and refused were not; one is gone
    assert benchmark["excluded"]["by_reason"] == {"broken-image": 1, "no-prediction": 4}
    assert (benchmark["accuracy"]["n"], benchmark["accuracy"]["value"]) == (4, 3 / 4)
    reasons = " ".join(example["reason"] for example in benchmark["excluded"]["examples"])
    assert "did not answer within 0.3 s, 2 times" in reasons
    assert "no chat completion" in reasons
    assert "BadRequestError" in reasons
    assert server.seen["busy"] == 2
    assert server.seen["slow"] == 2
    assert server.most <= 3
    assert found["asks"] == {"asked": 8, "kept": 0, "shared": 0}
    server.slow = False
    again = evaluate(server.url, [asked], tmp_path / "o", EvalConfig(controls=["majority"]), endpoint=QUICK)
    assert again["asks"] == {"asked": 4, "kept": 4, "shared": 0}
    assert server.seen["plain"] == 2
    assert again["benchmarks"]["vqa-rad"]["excluded"]["by_reason"] == {"broken-image": 1, "no-prediction": 3}
    assert (tmp_path / "o" / "report.html").stat().st_size < 200_000  # 10,000 words are not on the page


def test_what_another_model_is_told(server, asked, tmp_path):
    found = evaluate(
        server.url, [asked], tmp_path, EvalConfig(mode="answer", limit=1, controls=["text_only"]), endpoint=QUICK
    )
    bodies = sorted(server.bodies, key=lambda body: len(body["messages"][1]["content"]))
    system, user = bodies[1]["messages"]
    assert system == {"role": "system", "content": INSTRUCTION["answer"]}
    assert server.bodies[0]["temperature"] == 0
    assert "mode" not in server.bodies[0]
    assert user["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert len(bodies[0]["messages"][1]["content"]) == 1  # the control has no picture
    assert found["model"]["served_model"] == "vlm"
    assert found["model"]["system_message"] == INSTRUCTION["answer"]


def test_our_own_server_is_told_the_mode_and_gives_data():
    server = ChatServer(owner="medclm")
    try:
        chat = Chat(Endpoint(server.url))
        assert chat.ours
    finally:
        server.stop()


def test_judge_is_scorer_e(server, dataset, rule_predictor, tmp_path):
    judge = ChatServer(lambda question, _: "incorrect" if "Given answer: yes" in question else "Correct.")
    try:
        how = Endpoint(judge.url)
        result = evaluate(
            "rule", [f"medclm:{dataset}"], tmp_path, EvalConfig(controls=False), predictor=rule_predictor, judge=how
        )
    finally:
        judge.stop()
    # 14 answers, two of them "yes"
    assert result["benchmarks"]["medclm"]["judged"]["value"] == pytest.approx(12 / 14)
    assert result["judge"]["judged"] == 14
    assert "judged" in (tmp_path / "report.html").read_text()


def test_nothing_listens(asked, tmp_path):
    server = ChatServer()
    server.stop()
    with pytest.raises(UsageError, match="which models"):
        evaluate(server.url, [asked], tmp_path, endpoint=QUICK)
    many = Endpoint("", model="vlm", retries=0, timeout_s=1)
    found = evaluate(
        server.url, [asked], tmp_path, EvalConfig(controls=False), endpoint=many
    )  # 8 failures: not yet called down
    assert found["benchmarks"]["vqa-rad"]["excluded"]["by_reason"] == {"broken-image": 1, "no-prediction": 8}
    assert json.loads((tmp_path / "eval.json").read_text())["summary"]["vqa-rad"]["accuracy"] is None


def test_an_endpoint_that_is_down_stops_the_run(dataset, tmp_path):
    server = ChatServer()
    server.stop()
    down = Endpoint("", model="vlm", retries=0, timeout_s=1)
    with pytest.raises(MedclmError, match="cannot be reached"):
        evaluate(server.url, [f"medclm:{dataset}"], tmp_path, endpoint=down)

"""Reading verdicts; the judge over HTTP is in test_endpoint.py."""

import pytest

from medclm.eval.endpoint import Chat, Endpoint
from medclm.eval.judge import judge_rows, read_verdict
from tests.eval.chat_server import ChatServer


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("correct", True),
        ("Incorrect.", False),
        ("**Correct**", True),
        ("It is correct, not incorrect", None),
        ("", None),
    ],
)
def test_verdicts(text, verdict):
    assert read_verdict(text) is verdict


def test_a_verdict_that_cannot_be_read_is_in_no_score():
    server = ChatServer(lambda question, _: "who knows" if "Given answer: a" in question else "correct")
    rows = [
        {
            "id": n,
            "type": "what",
            "question": "Q?",
            "reference": "r",
            "answer": answer,
            "correct": False,
            "judged": None,
        }
        for n, answer in enumerate(("a", "b", ""))
    ]
    try:
        found = judge_rows(Chat(Endpoint(server.url)), rows)
    finally:
        server.stop()
    assert [row["judged"] for row in rows] == [None, True, False]  # an empty answer needs no judge
    assert (found["judged"], found["without_verdict"]) == (2, 1)
    assert found["examples"] == [{"id": 0, "reason": "who knows"}]

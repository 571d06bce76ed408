"""The endpoint, and a batch as the annotator gives it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from medclm.data import questions, verify
from medclm.data.questions import Catalogue
from medclm.data.records import Record
from tests.data.helpers import linked_nodule, record
from tests.data.rewrite.server import Paraphraser


@pytest.fixture
def server():
    """A paraphraser on loopback, one a test."""
    found = Paraphraser()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def asked() -> Record:
    """One image with a nodule in the left lung and its eight questions."""
    one = record([linked_nodule()])
    catalogue = Catalogue.of([one, record([linked_nodule(label="effusion")])])
    found = [(q, verify.check(one, q)) for q in questions.ask(one, catalogue, seed=0, limit=8)]
    assert all(problem is None for _, (_, problem) in found)
    return one.model_copy(update={"questions": tuple(q.model_copy(update={"checks": c}) for q, (c, _) in found)})


@pytest.fixture
def batch(asked):
    """A function to a batch of n copies of the image, and one that was set aside."""

    def make(n: int = 1) -> pa.Table:
        assert asked.image is not None
        bare = asked.model_copy(update={"image": asked.image.model_copy(update={"bytes": b""})})
        columns = {
            "index": list(range(n + 1)),
            "record": [*[bare.model_dump_json()] * n, ""],
            "png": pa.array([*[asked.image.bytes] * n, b""], pa.large_binary()),
            "rejects": pa.array([[] for _ in range(n + 1)], pa.list_(pa.string())),
        }
        return pa.table(columns)

    return make

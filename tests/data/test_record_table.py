from __future__ import annotations

from medclm.data.record_table import ARROW_SCHEMA, from_table, to_table
from medclm.data.records import Question
from tests.data.helpers import linked_nodule, record


def test_a_record_survives_arrow():
    one = record([linked_nodule()], questions=(Question(id="q", type="what", question="?", answer="a", closed=False),))
    table = to_table([one, record(image_id="other", spacing_mm=None)])
    assert table.schema.equals(ARROW_SCHEMA)
    assert from_table(table) == [one, record(image_id="other", spacing_mm=None)]

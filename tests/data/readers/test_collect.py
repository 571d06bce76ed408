"""What readers gather."""

from __future__ import annotations

import pytest

from medclm.data.readers.base import Refused, make_finding
from medclm.data.readers.collect import Collector
from tests.data.readers.pictures import reasons_of


@pytest.fixture
def collector(tmp_path):
    for name in ("a.png", "b/c.png", "d/c.png", "notes.xml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return Collector(str(tmp_path), "toy", "voc", skip=(".xml",))


def test_images_are_opened_once_and_set_aside_once(collector, tmp_path):
    assert [collector.image(name, "w") for name in ("a.png", "a", "no.png", "no.png", "c")] == [
        "a",
        "a",
        None,
        None,
        None,
    ]
    assert [collector.image(name, "w") for name in ("b/c.png", "d/c.png", "d/c.png")] == ["c", None, None]
    result = collector.result(modality="CT")
    assert [(r.image_id, r.patient_id, r.modality, r.source.uri) for r in result.records] == [
        ("a", "a", "CT", f"{tmp_path}/a.png"),
        ("c", "c", "CT", f"{tmp_path}/b/c.png"),
    ]
    assert reasons_of(result) == [
        ("missing-image", "no", None),
        ("missing-image", "c", None),
        ("duplicate-image", "c", None),
    ]


def test_another_id_than_the_stem(collector):
    assert collector.image("x_1.png", "w", image_id="x_1", path="a.png") == "x_1"
    assert [record.image_id for record in collector.result().records] == ["x_1"]


def test_what_is_refused_makes_the_image_incomplete(collector):
    collector.image("a.png", "w")
    for finding_id, box in (("a:1", (0, 0, 1, 1)), ("a:2", (0, 0, 0, 1)), ("a:3", (0, 0, 1, 2))):
        with collector.entry("a", f"w {finding_id}", finding_id):
            collector.add("a", make_finding(finding_id, "Mass", box, "voc"))
    result = collector.result()
    assert [finding.id for finding in result.records[0].findings] == ["a:1", "a:3"]
    assert reasons_of(result) == [("bad-box", "a", "a:2")]
    assert (result.rejects[0].where, result.incomplete) == ("w a:2", {"a"})


def test_equal_findings(collector):
    collector.image("a.png", "w")
    for number, attributes in enumerate(({"k": 1}, {"k": 2}, {"k": 1})):
        with collector.entry("a", "w", f"a:{number}"):
            collector.add("a", make_finding(f"a:{number}", "Mass", (0, 0, 1, 1), "voc", attributes=attributes))
    result = collector.result()
    assert (len(result.records[0].findings), result.incomplete) == (2, frozenset())
    assert reasons_of(result) == [("duplicate-annotation", "a", "a:2")]


def test_fields_of_an_image_do_not_change(collector):
    collector.image("a.png", "w")
    collector.describe("a", patient_id="p", study_id="", split=None)
    collector.describe("a", patient_id="p", study_id="s", view="PA")
    with pytest.raises(Refused, match="'p' elsewhere and 'q' here"):
        collector.describe("a", patient_id="q")
    (record,) = collector.result(view="AP", plane="frontal").records
    assert (record.patient_id, record.study_id, record.view, record.plane) == ("p", "s", "PA", "frontal")


def test_a_dropped_image_is_gone(collector):
    collector.image("a.png", "w")
    collector.add("a", make_finding("a:1", "Mass", (0, 0, 1, 1), "voc"))
    collector.incomplete.add("a")
    collector.drop(Refused("unreadable-image", "no header"), "a", "w")
    assert collector.image("a.png", "w") is None
    result = collector.result()
    assert (result.records, result.incomplete) == ([], frozenset())
    assert reasons_of(result) == [("unreadable-image", "a", None)]

"""The shipped base is whole, and each kind of fault in a copy of it stops the load and says where."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest
import yaml

from medclm.data import anatomy
from medclm.data.knowledge.base import FOLDER, knowledge_base, listed, load
from medclm.errors import MedclmError


@pytest.fixture
def changed(tmp_path):
    """A copy of the base, reduced to three findings, with one file replaced by a changed one."""
    folder = tmp_path / "base"
    (folder / "findings").mkdir(parents=True)
    shutil.copy(FOLDER / "base.yaml", folder)
    shutil.copytree(FOLDER / "organs", folder / "organs")
    for name in ("bulla", "scoliosis", "gallstone"):
        document = yaml.safe_load((FOLDER / "findings" / f"{name}.yaml").read_text())
        document["differential"] = {"other": ["something else"]}
        document.pop("not_deniable", None)
        (folder / "findings" / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def _changed(file: str, change):
        path = folder / file
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document))
        return folder

    return _changed


def test_an_unchanged_copy_loads(changed):
    small = load(changed("base.yaml", lambda document: None))
    assert sorted(small.findings) == ["bulla", "gallstone", "scoliosis"]
    assert small.facts["finding.scoliosis.differential"].text == (
        "The differential diagnosis of scoliosis includes something else."
    )


ORGAN = {"organs": ["carpal"], "function": {"answer": "x", "text": "X."}}


@pytest.mark.parametrize(
    ("file", "change", "fault"),
    [
        ("findings/bulla.yaml", {"organs": ["lung_wing"]}, "organ is not known"),
        ("findings/bulla.yaml", {"home": "lung_wing"}, "organ is not known"),
        ("findings/bulla.yaml", {"differential": {"findings": ["bubble"]}}, "finding is not known"),
        ("findings/bulla.yaml", {"not_deniable": ["bubble"]}, "finding is not known"),
        ("findings/bulla.yaml", {"differential": {"other": ["a cyst"], "at": ["wing"]}}, "organ is not known"),
        ("organs/chest.yaml", {"liver": {**ORGAN, "organs": ["liver"]}}, "two entries"),
        ("findings/bulla.yaml", {"attributes": {"wall": []}}, "attributes.wall"),
        ("findings/bulla.yaml", {"source": "hearsay"}, "source is not known"),
        ("findings/bulla.yaml", {"sources": {"defintion": "textbook"}}, "fact with a source of its own is not known"),
        ("findings/bulla.yaml", {"definition": "no capital."}, "definition"),
        ("findings/bulla.yaml", {"definition": "No full stop"}, "definition"),
        ("findings/bulla.yaml", {"colour": "red"}, "colour"),
        ("findings/bulla.yaml", {"zones": ["top"]}, "zones"),
        ("findings/bulla.yaml", {"codes": {"radlex": "58"}}, "codes.radlex"),
        ("findings/bulla.yaml", {"synonyms": ["Spinal_Curvature"]}, "'spinal curvature' is claimed twice"),
        ("findings/bulla.yaml", {"name": "scoliosis"}, "bears another name"),
        ("findings/bulla.yaml", {"not_differential": ["something else"]}, "both a differential diagnosis and none"),
        ("base.yaml", {"version": 0}, "version"),
        ("organs/chest.yaml", {"wing": {**ORGAN, "organs": ["wing"]}}, "organ is not"),
        ("organs/chest.yaml", {"wing": {**ORGAN, "organs": ["heart"]}}, "described twice"),
        ("organs/chest.yaml", {"wing": {"organs": ["carpal"]}}, "function"),
        (
            "organs/chest.yaml",
            {"wrist": {**ORGAN, "system": "wind system"}},
            "system is not known",
        ),
        (
            "organs/chest.yaml",
            {"wrist": {**ORGAN, "neighbours": ["hand"]}},
            "neighbour is not known",
        ),
        (
            "organs/chest.yaml",
            {"wrist": {**ORGAN, "neighbours": ["liver"], "not_neighbours": ["liver"]}},
            "a neighbour and none",
        ),
    ],
)  # fmt: skip
def test_a_fault_stops_the_load(changed, file, change, fault):
    with pytest.raises(MedclmError, match=re.escape(fault)):
        load(changed(file, lambda document: document.update(change)))


def test_an_id_written_twice_stops_the_load(changed):
    folder = changed("base.yaml", lambda document: None)
    with (folder / "findings" / "bulla.yaml").open("a") as file:
        file.write("supports:\n  thin_wall: A second sentence under one id.\n")
    with pytest.raises(MedclmError, match="'supports' is there twice"):
        load(folder)


def test_the_hash_follows_every_file(changed):
    first = load(changed("base.yaml", lambda document: None)).sha256
    assert load(changed("base.yaml", lambda document: None)).sha256 == first
    second = load(changed("findings/bulla.yaml", lambda document: document.update(plural="bullas"))).sha256
    assert second != first


def test_the_base_is_as_large_as_it_claims():
    known = knowledge_base()
    assert len(known.findings) >= 40
    assert len(known.organs) >= 30
    assert len(known.facts) == len({fact.text for fact in known.facts.values()}), "no sentence stands for two facts"
    for fact in known.facts.values():
        assert re.fullmatch(r"(finding|organ)(\.[a-z0-9_]+){2,3}", fact.id)
        assert re.fullmatch(r"[A-Z][^\n]*\.", fact.text)


@pytest.mark.parametrize("finding", knowledge_base().findings.values(), ids=lambda finding: finding.key)
def test_a_finding_has_what_a_reader_looks_for(finding):
    assert finding.supports
    assert finding.against
    assert finding.differential.all
    if finding.home:
        word = anatomy.organ_text(finding.home).split()[0].rstrip("s")
        assert word in finding.place.lower(), "the place's sentence names the organ that it is asked for"
        assert anatomy.is_admissible(finding.name, finding.home)


def test_parts_are_described_by_the_organ_they_belong_to_and_regions_by_themselves():
    known = knowledge_base()
    assert known.organ_key("left_upper_lobe") == "upper_lobes"
    assert known.organ_key("left_kidney") == "kidneys"
    assert known.organ_key("right_rib_7") == "ribs"
    assert known.organ_key("vertebra_t12") == "spine"
    assert known.organ_key("mediastinum") == "mediastinum"
    assert known.organ_key("thorax") is None
    assert known.organ_key("brachiocephalic_trunk") is None, "it is in the mediastinum, but does not house the heart"
    assert known.organ_key("wing") is None


def test_neighbourhood_holds_both_ways():
    near = knowledge_base().neighbours
    assert "stomach" in near["spleen"]
    assert all(key in near[other] for key, others in near.items() for other in others)


def test_generated_sentences():
    facts = knowledge_base().facts
    assert facts["organ.kidneys.system"].text == "The kidneys belong to the urinary system."
    assert facts["organ.kidneys.system"].source == "slake-kg:Kidney/belong to"
    assert facts["organ.prostate.neighbours"].text == "The prostate lies next to the urinary bladder."
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_codes_and_sources_exist_where_they_are_said_to_be_from(real_data):
    folder = real_data("anatomy-knowledge")
    places = {p["_id"]: p for p in json.loads((folder / "anatomic_locations_noembed.json").read_text())}
    models = {json.loads(path.read_text())["oifm_id"] for path in (folder / "findings").glob("*.json")}
    triples = set()
    for name in ("en_organ.csv", "en_organ_rel.csv", "en_disease.csv"):
        with (real_data("slake") / "KG" / name).open() as file:
            triples |= {f"{row[0]}/{row[1]}" for row in csv.reader(file, delimiter="#")}
    for organ in knowledge_base().organs.values():
        if organ.codes.radlex in places and organ.codes.snomed:
            assert places[organ.codes.radlex]["snomedId"] == organ.codes.snomed
        assert organ.codes.radlex is None or organ.codes.radlex in places
    for finding in knowledge_base().findings.values():
        assert finding.codes.oifm is None or finding.codes.oifm in models
    sources = [
        s
        for entry in (*knowledge_base().organs.values(), *knowledge_base().findings.values())
        for s in entry.sources.values()
    ]
    for source in sources:
        kind, _, place = source.partition(":")
        assert place in {"oifm": models, "radlex": places, "slake-kg": triples}.get(kind, {""}), source

"""Every export is read back by the library that it is made for, or by its own format's reader."""

from __future__ import annotations

import json
import tarfile

import pytest

from medclm.data import export, shards
from medclm.data.questions import Catalogue, ask
from medclm.errors import UsageError
from tests.data.helpers import linked_nodule, record


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    out = str(tmp_path_factory.mktemp("built"))
    catalogue = Catalogue(("mass", "nodule"), ("frontal radiograph",))
    records = []
    for name, split in (("a", "train"), ("b", "test")):
        one = record([linked_nodule()], image_id=name, split=split)
        records.append(one.model_copy(update={"questions": ask(one, catalogue, seed=0, limit=4)}))
    shards.write_shard(out, 0, records, [])
    shards.write_manifest(out, {})
    return out


@pytest.fixture(scope="module")
def questions(dataset):
    return [(one, question) for one in shards.read_records(dataset) for question in one.questions]


def test_llava_keeps_every_question_and_each_picture_once(dataset, questions, tmp_path):
    summary = export.export(dataset, tmp_path, "llava")
    assert summary == {"format": "llava", "questions": len(questions), "images": 2, "files": 3}
    first = json.loads((tmp_path / "data.json").read_text())[0]
    one, question = questions[0]
    assert first["conversations"][0] == {"from": "human", "value": f"<image>\n{question.question}"}
    assert first["conversations"][1]["value"].endswith(f"Answer: {question.answer}")
    assert (tmp_path / first["image"]).read_bytes() == one.image.bytes


def test_sharegpt_has_one_picture_a_turn_and_an_entry_for_llama_factory(dataset, questions, tmp_path):
    export.export(dataset, tmp_path, "sharegpt")
    entries = json.loads((tmp_path / "data.json").read_text())
    assert len(entries) == len(questions)
    assert all(entry["messages"][0]["content"].count("<image>") == len(entry["images"]) == 1 for entry in entries)
    assert json.loads((tmp_path / "dataset_info.json").read_text())["medclm"]["formatting"] == "sharegpt"


def test_hf_parquet_is_read_by_datasets_with_its_pictures(dataset, questions, tmp_path):
    import datasets

    export.export(dataset, tmp_path / "hf", "hf")
    files = {split: str(tmp_path / "hf" / f"{split}.parquet") for split in ("train", "test")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows + loaded["test"].num_rows == len(questions)
    assert loaded["train"][0]["image"].size == (20, 20)
    assert loaded["train"][0]["question"] == questions[0][1].question


def test_webdataset_pairs_a_picture_and_its_fields(dataset, questions, tmp_path):
    export.export(dataset, tmp_path, "webdataset")
    with tarfile.open(tmp_path / "train-00000.tar") as tar:
        names = tar.getnames()
        fields = json.load(tar.extractfile("00000000.json"))
    assert names[:2] == ["00000000.png", "00000000.json"]
    assert fields["answer"] == questions[0][1].answer


def test_the_shards_themselves_are_read_by_datasets(dataset, tmp_path):
    import datasets

    files = [str(path) for path in shards.shard_files(dataset)]
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path), split="train")
    assert rows.num_rows == 2
    assert rows[0]["findings"][0]["label"] == "nodule"


def test_unknown_format_and_full_folder_are_refused(dataset, tmp_path):
    with pytest.raises(UsageError, match="unknown export format"):
        export.export(dataset, tmp_path, "coco")
    (tmp_path / "there").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        export.export(dataset, tmp_path, "llava")

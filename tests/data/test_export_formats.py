"""Every export is read back by the program that it is made for."""

from __future__ import annotations

import importlib
import json
import sys
import types
import zipfile

import pytest

from medclm.data import shards
from medclm.data.export import export
from medclm.data.export_entry import fields
from medclm.data.records import Record
from medclm.errors import MedclmError
from tests.data.export_rows import make


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [make("a", "train"), make("b/1.2", "validate"), make("c", "test")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, records) -> str:
    out = str(tmp_path_factory.mktemp("built"))
    shards.write_shard(out, 0, records, [])
    shards.write_manifest(out, {})
    return out


def test_llava(dataset, records, tmp_path):
    summary = export(dataset, tmp_path, "llava")
    assert summary == {"format": "llava", "questions": 12, "images": 3, "files": 3 + 6}
    what, _, vqa, change = json.loads((tmp_path / "train.json").read_text())
    assert what["conversations"] == [
        {"from": "human", "value": "<image>\nWhat is seen?"},
        {"from": "gpt", "value": "Reasoning: There is a nodule. Nodules are at most 3 cm. Answer: nodule"},
    ]
    assert (what["image"], what["difficulty"]) == ("images/a.png", 2)
    assert what["reasoning"][0]["box_xyxy"] == what["findings"][0]["box_xyxy"] == [12, 3, 15, 6]
    assert what["reasoning"][1]["facts"] == ["nodule/size"]
    assert (tmp_path / what["image"]).read_bytes() == records[0].image.bytes
    assert vqa["conversations"][0]["value"] == "<image>\nWhat is this?\nChoices: a lung; a knee"
    assert vqa["choices"] == ["a lung", "a knee"]
    assert change["image"] == ["images/a-earlier.png", "images/a.png"]
    assert change["conversations"][0]["value"].count("<image>") == 2


@pytest.fixture(scope="module")
def llama_factory(tmp_path_factory):
    """LLaMA-Factory's own parser of dataset_info.json and converter of rows, without its training code."""
    from medclm.samples import wheels

    digest = "10776e9b259798bf65f6c5343f6298f0302e92e9cd47472abe29eef69e286c6a"
    wheel = wheels.Wheel("llamafactory", "0.9.5", "llamafactory-0.9.5-py3-none-any.whl", digest)
    try:
        path = wheels.fetch(wheel, wheels.default_cache())
    except MedclmError as error:
        pytest.skip(f"the wheel {wheel.file} cannot be had: {error.what}")
    root = tmp_path_factory.mktemp("llamafactory")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(root)
    for name in ("llamafactory", "llamafactory.data", "llamafactory.extras"):
        package = types.ModuleType(name)  # the package's own __init__ imports the trainer and torchaudio
        package.__path__ = [str(root / name.replace(".", "/"))]
        sys.modules[name] = package
    yield importlib.import_module("llamafactory.data.parser"), importlib.import_module("llamafactory.data.converter")
    for name in [name for name in sys.modules if name.split(".")[0] == "llamafactory"]:
        del sys.modules[name]


def test_sharegpt_is_read_by_llama_factory(dataset, tmp_path, llama_factory):
    import datasets

    parser, converter = llama_factory
    export(dataset, tmp_path / "out", "sharegpt")
    names = ["medclm_train", "medclm_validation", "medclm_test"]
    for attr in parser.get_dataset_list(names, str(tmp_path / "out")):
        file = str(tmp_path / "out" / attr.dataset_name)
        rows = datasets.load_dataset("json", data_files=[file], split=attr.split, cache_dir=str(tmp_path / "cache"))
        where = types.SimpleNamespace(media_dir=str(tmp_path / "out"))
        read = [converter.get_dataset_converter(attr.formatting, attr, where)(row) for row in rows]
        assert [len(row["_images"]) for row in read] == [1, 1, 1, 2]
        for row in read:
            (asked,), (answered,) = row["_prompt"], row["_response"]
            assert (asked["role"], answered["role"]) == ("user", "assistant")
            assert asked["content"].count("<image>") == len(row["_images"])
            assert all(path.startswith(str(tmp_path / "out" / "images")) for path in row["_images"])
        assert read[0]["_response"][0]["content"].endswith("Answer: nodule")


def test_sharegpt_keeps_the_fields(dataset, records, tmp_path):
    export(dataset, tmp_path, "sharegpt")
    entries = json.loads((tmp_path / "train.json").read_text())
    assert [json.loads(e["meta"]) for e in entries] == [fields(records[0], q) for q in records[0].questions]


@pytest.fixture(scope="module")
def loaded(dataset, tmp_path_factory):
    import datasets

    out = tmp_path_factory.mktemp("hf")
    export(dataset, out / "set", "hf")
    return datasets.load_dataset(str(out / "set"), cache_dir=str(out / "cache"))


def test_hf_is_read_by_datasets_as_it_is(loaded, records):
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 4, "validation": 4, "test": 4}
    first, _, vqa, change = loaded["train"]
    assert [picture.size for picture in first["images"]] == [(20, 20)]
    assert len(change["images"]) == 2
    assert {name: first[name] for name in fields(records[0], records[0].questions[0])} == fields(
        records[0], records[0].questions[0]
    )
    assert vqa["messages"][0] == {"role": "user", "content": "What is this?\nChoices: a lung; a knee"}
    assert vqa["choices"] == ["a lung", "a knee"]
    assert str(loaded["train"].features["difficulty"]) == "Value('int8')"


def test_hf_is_what_trl_expects(loaded):
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    for row in loaded["train"]:
        assert is_conversational(row)
        user, assistant = prepare_multimodal_messages(row["messages"], row["images"])
        assert [part["type"] for part in user["content"]] == ["image"] * len(row["images"]) + ["text"]
        assert assistant["content"][0]["text"].endswith(f"Answer: {row['answer']}")


def test_trl_trains_a_step_on_hf(loaded, tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import SFTConfig, SFTTrainer

    from medclm.train.tiny import TinySize, make_tiny

    texts = [message["content"] for row in loaded["train"] for message in row["messages"]]
    base = make_tiny(
        texts, tmp_path / "base", size=TinySize(image_size=32, text_layers=1, vision_layers=1, vision="random")
    )
    settings = SFTConfig(
        output_dir=str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=4, max_length=None, use_cpu=True,
        report_to=[], save_strategy="no", gradient_checkpointing=False, bf16=False,
    )  # fmt: skip
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    trainer = SFTTrainer(
        model, settings, train_dataset=loaded["train"], processing_class=AutoProcessor.from_pretrained(base)
    )
    assert trainer.train().training_loss > 0


def test_webdataset_is_read_by_webdataset_and_by_datasets(dataset, records, tmp_path):
    import datasets
    import webdataset

    export(dataset, tmp_path / "out", "webdataset")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == sorted(f"{s}{c}-00000.tar" for s in ("train", "validation", "test") for c in ("", "-change"))
    plain = list(webdataset.WebDataset(str(tmp_path / "out" / "train-00000.tar"), shardshuffle=False).decode("pil"))
    assert [row["json"]["type"] for row in plain] == ["what", "is-there", "vqa"]
    assert plain[0]["png"].size == (20, 20)
    assert plain[0]["json"] == fields(records[0], records[0].questions[0])
    (change,) = webdataset.WebDataset(str(tmp_path / "out" / "train-change-00000.tar"), shardshuffle=False)
    assert change["png"] == records[0].image.bytes
    assert change["earlier.png"] == records[0].prior.image.bytes
    rows = datasets.load_dataset(
        "webdataset", data_files={"train": str(tmp_path / "out" / "train-0*.tar")}, cache_dir=str(tmp_path / "cache")
    )
    assert rows["train"][0]["json"]["answer"] == "nodule"


def test_webdataset_starts_new_files(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("medclm.data.export_formats.SHARD_QUESTIONS", 2)
    export(dataset, tmp_path, "webdataset")
    assert len(list(tmp_path.glob("train-0*.tar"))) == 2

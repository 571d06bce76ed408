"""Small records, a built dataset and a tiny base model, shared by the training tests."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medclm.data.records import Finding, Image, Question, Record, Source, Step

SIZE_HW = (60, 80)
TINY = {"vision": "random", "image_size": 32, "patch_size": 8, "scale": 1, "vision_width": 16, "vision_layers": 1,
        "text_width": 16, "text_layers": 2, "heads": 2, "vocabulary": 512}  # fmt: skip


def make_record(number: int, split: str = "train") -> Record:
    """One picture of 80 x 60 pixels with a bright square, and two questions with reasoning and one without."""
    rng = random.Random(number)
    x, y = rng.randrange(4, 56), rng.randrange(4, 36)
    grey = np.full(SIZE_HW, 40 + number % 5, np.uint8)
    grey[y : y + 16, x : x + 16] = 220
    buffer = io.BytesIO()
    PIL.Image.fromarray(grey).save(buffer, "png")
    box = (float(x), float(y), float(x + 16), float(y + 16))
    side = "right" if x + 8 < 40 else "left"
    finding = Finding(id="f0", label="nodule", label_raw="nodule", box_xyxy=box, organ=f"{side}_lung", side=side)
    steps = (
        Step(step="seed", text=f"There is a nodule in the {side} lung.", box_xyxy=box),
        Step(step="view", text="This is a frontal radiograph."),
        Step(step="conclusion", text=f"The side is {side}."),
    )
    name = f"image-{number}"
    ask = {"finding_ids": ("f0",), "closed": True}
    questions = (
        Question(id=f"{name}:q0", type="side", question="Which side?", answer=side, reasoning=steps, **ask),
        Question(id=f"{name}:q1", type="is-there", question="Is there a nodule?", answer="yes", reasoning=steps, **ask),
        Question(id=f"{name}:q2", type="view", question="What is this?", answer="frontal radiograph", closed=False),
    )
    return Record(
        image_id=name,
        patient_id=f"patient-{number}",
        dataset="squares",
        split=split,
        modality="CR",
        plane="frontal",
        image=Image(bytes=buffer.getvalue(), format="png", width=SIZE_HW[1], height=SIZE_HW[0]),
        source=Source(uri=f"{name}.png", reader="test"),
        findings=(finding,),
        questions=questions,
    )


def write_dataset(out: Path, records: list[Record], shard_rows: int = 8) -> str:
    """A built dataset directory of ``records``."""
    from medclm.data import shards

    for index in range(0, len(records), shard_rows):
        shards.write_shard(str(out), index // shard_rows, records[index : index + shard_rows], [])
    shards.write_manifest(str(out), {"fingerprint": "test"})
    return str(out)


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> str:
    """A built dataset: 32 training and 8 validation rows in 5 shards."""
    records = [make_record(n, "train" if n < 32 else "validate") for n in range(40)]
    return write_dataset(tmp_path_factory.mktemp("squares"), records)


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory) -> Path:
    """A tiny base model on disk."""
    from medclm.train.tiny import TinySize, make_tiny
    from medclm.train.views import training_text

    texts = [training_text(question) for n in range(4) for question in make_record(n).questions]
    return make_tiny(texts, tmp_path_factory.mktemp("tiny"), seed=1, size=TinySize(**TINY))


@pytest.fixture(scope="session")
def loaded(tiny_dir):
    from medclm.train.model import load_base

    return load_base(str(tiny_dir))


@pytest.fixture
def encoder(loaded):
    from medclm.train.collate import Encoder

    return Encoder(loaded.processor, loaded.family, loaded.grid_hw)


@pytest.fixture(scope="session")
def family_dirs(tmp_path_factory):
    """Makes a tiny base model of :mod:`tests.train.tiny_families` by name, once."""
    from functools import cache

    from tests.train import tiny_families

    root = tmp_path_factory.mktemp("families")
    return cache(lambda name: tiny_families.write(name, root / name))


@pytest.fixture(scope="session")
def family_bases(family_dirs):
    """(Loaded, Encoder) by name, loaded once: tests leave them as they are."""
    from functools import cache

    from medclm.train.encode import Encoder
    from medclm.train.model import load_base

    def load(name: str):
        loaded = load_base(str(family_dirs(name)))
        loaded.model.eval()
        return loaded, Encoder(loaded.processor, loaded.family, loaded.grid_hw)

    return cache(load)

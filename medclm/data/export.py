"""Flat exports of a built dataset, one entry per question, for trainers that know other layouts.

* ``llava``: ``SPLIT.json`` of LLaVA's conversations, pictures in ``images/``
* ``sharegpt``: ``SPLIT.json`` and ``dataset_info.json`` as LLaMA-Factory reads them (``dataset_dir`` is the export, the
  datasets are ``medclm_SPLIT``), pictures in ``images/``
* ``hf``: ``data/SPLIT-00000.parquet`` with ``images`` and ``messages``, which TRL's ``SFTTrainer`` takes, and a README
  by which ``datasets.load_dataset(DIR)`` finds the splits
* ``webdataset``: ``SPLIT-00000.tar`` of ``KEY.png`` and ``KEY.json``

Splits are train, validation and test. Each entry keeps its choices, difficulty, reasoning with evidence boxes and the
image's findings; boxes are pixels of the exported picture. A question about change comes with two pictures, the earlier
one first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medclm.data.export_formats import FORMATS
from medclm.data.shards import read_manifest, read_records
from medclm.errors import UsageError

SPLITS = {"train": "train", "validate": "validation", "test": "test", None: "train"}
"""The name of a record's split in exports."""


def export(directory: str, to: str | Path, format: str) -> dict[str, Any]:
    """Writes the export and returns ``{"format", "questions", "images", "files"}``.

    Args:
        directory: a built dataset.
        to: directory to write; it must be empty or not exist.
        format: a key of :data:`medclm.data.export_formats.FORMATS`.

    Raises:
        UsageError: the format is unknown, the dataset is not finished, or ``to`` holds something.
    """
    if format not in FORMATS:
        raise UsageError("unknown export format", got=format, expected=", ".join(FORMATS))
    read_manifest(directory)
    target = Path(to)
    if target.is_dir() and any(target.iterdir()):
        raise UsageError("the directory to export to is not empty", where=target, remedy="choose another --to")
    target.mkdir(parents=True, exist_ok=True)
    questions = images = 0
    with FORMATS[format](target) as writer:
        for record in read_records(directory):
            for question in record.questions:
                writer.add(SPLITS[record.split], record, question)
            questions += len(record.questions)
            images += bool(record.questions)
    files = sum(1 for path in target.rglob("*") if path.is_file())
    return {"format": format, "questions": questions, "images": images, "files": files}

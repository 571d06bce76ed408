"""OmniMedVQA (Hu et al., CVPR 2024) and sets laid out like it: JSON lists of multiple-choice questions.

A row has ``question_id``, ``question``, ``gt_answer``, ``image_path``, ``option_A`` … and, mostly, ``dataset``,
``question_type`` and ``modality_type``. The answer is the text of one of the options.
"""

from __future__ import annotations

import json
import string
from typing import Any

from medclm import storage
from medclm.errors import MedclmError, UsageError
from medclm.eval.benchmarks import LAYOUTS, Benchmark, Item
from medclm.eval.sets.common import Pictures, unique

_KEYS = ("question", "gt_answer", "image_path", "option_A")


def load(directory: str, split: str = "") -> Benchmark:
    """Every row of every JSON file below ``QA_information`` (or of the folder itself); there is no training split."""
    inside = storage.join(directory, "QA_information")
    files = storage.list_files(inside if storage.exists(inside) else directory, "**/*.json")
    if not files:
        raise UsageError("the benchmark has no question file", where=directory, expected=LAYOUTS["omnimedvqa"])
    rows, faults = [], []
    for file in files:
        for n, row in enumerate(_list(file)):
            fault = _fault(row)
            if fault:
                faults.append(f"{file}: [{n}]: {fault}")
            else:
                rows.append(row)
    if not rows:
        raise MedclmError("no row of the question files can be used", where=directory, got=faults[:1])
    pictures = Pictures(directory, LAYOUTS["omnimedvqa"])
    names = unique([str(row.get("question_id") or n) for n, row in enumerate(rows)])
    items = [_item(row, name, pictures) for row, name in zip(rows, names, strict=True)]
    notes = [f"{len(items)} questions of {len(files)} files; no published count to check against"]
    notes += [f"{len(faults)} rows cannot be used; the first: {faults[0]}"] if faults else []
    notes.append("no training split: no majority control")
    return Benchmark("omnimedvqa", directory, tuple(items), (), "nothing", tuple(notes))


def _list(file: str) -> list[Any]:
    try:
        rows = json.loads(storage.read_bytes(file))
    except ValueError as error:
        raise MedclmError("the question file is not JSON", where=file, got=error, remedy="download it again") from error
    if not isinstance(rows, list):
        raise MedclmError("the question file is no list of rows", where=file, got=type(rows).__name__)
    return rows


def _options(row: dict[str, Any]) -> tuple[str, ...]:
    found = (row.get(f"option_{letter}") for letter in string.ascii_uppercase)
    return tuple(str(option).strip() for option in found if option is not None and str(option).strip())


def _fault(row: Any) -> str:
    if not isinstance(row, dict) or any(not str(row.get(key) or "").strip() for key in _KEYS):
        return f"a row needs {', '.join(_KEYS)}"
    if str(row["gt_answer"]).strip() not in _options(row):
        return f"the answer {row['gt_answer']!r} is none of the options"
    return ""


def _item(row: dict[str, Any], name: str, pictures: Pictures) -> Item:
    choices, image = _options(row), str(row["image_path"]).strip()
    options = "; ".join(f"{letter}. {text}" for letter, text in zip(string.ascii_uppercase, choices, strict=False))
    address, problem = pictures.find(image)
    return Item(
        id=name,
        image_id=image,
        patient_id=image,
        image=address,
        question=f"{str(row['question']).strip()} Options: {options}",
        answer=str(row["gt_answer"]).strip(),
        type=str(row.get("question_type") or "multiple-choice").strip().lower(),
        closed=True,
        choices=choices,
        problem=problem,
        modality=str(row.get("modality_type") or "").strip(),
    )

"""Records as Arrow tables: the one schema that a built dataset has on disk."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from medclm.data.records import SCHEMA_VERSION, Record


def _list_of(*fields: tuple[str, pa.DataType]) -> pa.DataType:
    return pa.list_(pa.struct(list(fields)))


_BOX = pa.list_(pa.float64())
_STRINGS = pa.list_(pa.string())
_IMAGE = pa.struct(
    [
        ("bytes", pa.large_binary()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("window", pa.struct([("center", pa.float64()), ("width", pa.float64()), ("name", pa.string())])),
    ]
)
_SPACING = pa.struct([("row", pa.float64()), ("col", pa.float64())])
_FINDINGS = _list_of(
    ("id", pa.string()),
    ("label", pa.string()),
    ("label_raw", pa.string()),
    ("box_xyxy", _BOX),
    ("mask_rle", pa.string()),
    ("organ", pa.string()),
    ("organ_path", _STRINGS),
    ("side", pa.string()),
    ("zone", pa.string()),
    ("coverage", pa.float64()),
    ("size_mm", pa.float64()),
    ("attributes", _list_of(("key", pa.string()), ("value", pa.string()))),
    ("source", pa.string()),
)
_ORGANS = _list_of(
    ("name", pa.string()),
    ("side", pa.string()),
    ("box_xyxy", _BOX),
    ("area_px", pa.int64()),
    ("rle", pa.string()),
    ("source", pa.string()),
)
_STEPS = _list_of(("step", pa.string()), ("text", pa.string()), ("box_xyxy", _BOX), ("facts", _STRINGS))
_QUESTIONS = _list_of(
    ("id", pa.string()),
    ("type", pa.string()),
    ("question", pa.string()),
    ("answer", pa.string()),
    ("closed", pa.bool_()),
    ("choices", _STRINGS),
    ("difficulty", pa.int8()),
    ("reasoning", _STEPS),
    ("finding_ids", _STRINGS),
    ("generator", pa.string()),
    ("checks", _STRINGS),
)
_PRIOR = pa.struct(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("frame", pa.int32()),
        ("days", pa.int32()),
        ("image", _IMAGE),
        ("spacing_mm", _SPACING),
        ("findings", _FINDINGS),
    ]
)
_SOURCE = pa.struct(
    [
        ("uri", pa.string()),
        ("reader", pa.string()),
        ("sha256", pa.string()),
        ("frame", pa.int32()),
        ("volume", pa.string()),
        ("display", pa.string()),
    ]
)

ARROW_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("patient_id", pa.string()),
        ("study_id", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("modality", pa.string()),
        ("plane", pa.string()),
        ("view", pa.string()),
        ("body_part", pa.string()),
        ("image", _IMAGE),
        ("spacing_mm", _SPACING),
        ("source", _SOURCE),
        ("organs", _ORGANS),
        ("findings", _FINDINGS),
        ("labels", _STRINGS),
        ("labels_absent", _STRINGS),
        ("study_day", pa.int32()),
        ("prior", _PRIOR),
        ("questions", _QUESTIONS),
    ],
    metadata={b"medclm_schema_version": json.dumps(SCHEMA_VERSION).encode()},
)
"""The dataset's one Arrow schema; its metadata carry :data:`SCHEMA_VERSION`."""


def to_table(records: list[Record]) -> pa.Table:
    """Records as one Arrow table of :data:`ARROW_SCHEMA`."""
    return pa.Table.from_pylist([_to_row(record) for record in records], schema=ARROW_SCHEMA)


def from_table(table: pa.Table) -> list[Record]:
    """The inverse of :func:`to_table`."""
    return [_from_row(row) for row in table.to_pylist()]


def _to_row(record: Record) -> dict[str, Any]:
    row = record.model_dump(mode="python")
    for finding in (*row["findings"], *((row["prior"] or {}).get("findings") or ())):
        finding["attributes"] = [{"key": k, "value": v} for k, v in sorted(finding["attributes"].items())]
    return row


def _from_row(row: dict[str, Any]) -> Record:
    row = {**row, "findings": _with_attributes(row["findings"])}
    if row["prior"] is not None:
        row["prior"] = {**row["prior"], "findings": _with_attributes(row["prior"]["findings"])}
    return Record.model_validate(row)


def _with_attributes(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**f, "attributes": {pair["key"]: pair["value"] for pair in f["attributes"] or ()}} for f in findings]

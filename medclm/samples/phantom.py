"""The phantom dataset: patients with one to three pictures each, drawn, written as DICOM and annotated.

Everything of a patient follows from (seed, patient number): a picture does not depend on how many are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as count_up
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medclm.errors import UsageError
from medclm.samples.axial import axial
from medclm.samples.chest import ChestAnatomy, sample_anatomy
from medclm.samples.dataset import DatasetWriter
from medclm.samples.dicom_file import DETECTORS, Detector, Identity, ct_bytes, radiograph_bytes
from medclm.samples.place import LABELS
from medclm.samples.radiograph import PhantomImage, radiograph

Kind = Literal["mixed", "radiograph", "ct"]
KINDS: tuple[Kind, ...] = ("mixed", "radiograph", "ct")
VISITS = (0.45, 0.35, 0.20)
"""Shares of patients with one, two and three pictures."""

_CT_STUDY = 9
DAYS_BETWEEN = 90
"""Days from one picture of a patient to the next."""
_WINDOW = (0.02, 0.96)


@dataclass(frozen=True)
class Visit:
    """One picture to be drawn: its identity, the patient's anatomy and detector, and its own seed."""

    image_id: str
    identity: Identity
    anatomy: ChestAnatomy
    detector: Detector
    kind: Literal["radiograph", "ct"]
    seed: tuple[int, ...]


def write_phantom(
    out: Path,
    count: int,
    seed: int = 0,
    size: int = 256,
    kind: Kind = "radiograph",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a phantom detection dataset (layout: :mod:`medclm.samples.dataset`).

    Args:
        out: directory to write.
        count: pictures.
        seed: any integer from 0; equal seeds give byte-for-byte equal files.
        size: rows and columns of a picture, 64 to 2048.
        kind: frontal radiographs, axial CT slices, or patients of both.
        progress: called with (pictures done, pictures in all).

    Returns:
        Counts: images, patients, findings, empty (pictures without a finding), and by label and kind.

    Raises:
        UsageError: for an argument out of range or an ``out`` that holds something else.
    """
    _check(count, seed, size, kind)
    counts: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    info = {"description": "medclm phantoms", "seed": seed, "size": size, "kind": kind}
    patients = set()
    with DatasetWriter(out, LABELS, info, readme(count, seed, size, kind)) as writer:
        for done, visit in enumerate(visits(count, seed, kind), start=1):
            image = draw(visit, size)
            _write(writer, visit, image)
            patients.add(visit.identity.patient_id)
            counts[visit.kind] += 1
            counts["empty"] += not image.findings
            labels.update(finding.label for finding in image.findings)
            if progress:
                progress(done, count)
    return {
        "images": count,
        "patients": len(patients),
        "findings": labels.total(),
        "empty": counts["empty"],
        "labels": {label: labels[label] for label in LABELS},
        "kinds": {name: counts[name] for name in ("radiograph", "ct") if counts[name]},
    }


def visits(count: int, seed: int, kind: Kind) -> Iterator[Visit]:
    """The first ``count`` pictures of the endless row of patients that belongs to ``seed``."""
    made = 0
    for patient in count_up():
        rng = np.random.default_rng([seed, patient])
        anatomy, detector = sample_anatomy(rng), DETECTORS[int(rng.integers(len(DETECTORS)))]
        total = int(rng.choice(3, p=VISITS)) + 1
        coins = rng.random(3)
        for number in range(total):
            if made == count:
                return
            made += 1
            is_ct = kind == "ct" or (kind == "mixed" and coins[number] < 0.5)
            identity = Identity(f"patient-{seed}-{patient:05d}", study=number + 1, series=1, instance=1)
            code = 2 if is_ct else 1
            name = f"phantom-{seed}-{patient:05d}-{number + 1}"
            yield Visit(
                name, identity, anatomy, detector, "ct" if is_ct else "radiograph", (seed, patient, number, code)
            )


def draw(visit: Visit, size: int) -> PhantomImage:
    """Draw one picture of ``size`` by ``size`` pixels."""
    rng = np.random.default_rng(visit.seed)
    if visit.kind == "ct":
        _, patient, number, _ = visit.seed
        third = (patient + number) % 3
        return axial(visit.anatomy, rng, size, level=float(rng.uniform(0.14, 0.40) + 0.26 * third))
    return radiograph(visit.anatomy, rng, size)


def _write(writer: DatasetWriter, visit: Visit, image: PhantomImage) -> None:
    is_ct = visit.kind == "ct"
    number = writer.add_image(
        visit.image_id,
        _file(visit, image),
        image.values.shape,
        patient_id=visit.identity.patient_id,
        study_id=visit.identity.uid("study"),
        study_day=DAYS_BETWEEN * (visit.identity.study - 1),
        modality="CT" if is_ct else "DX",
        plane="axial" if is_ct else "frontal",
        view=image.view,
        spacing_mm=[round(image.spacing_mm, 5)] * 2,
    )
    writer.add_masks(visit.image_id, image.masks)
    for finding in image.findings:
        attributes = {"organ": finding.organ, "side": finding.side, **finding.attributes}
        writer.add_finding(number, finding.label, finding.mask, finding.box_xyxy, attributes)


def _file(visit: Visit, image: PhantomImage) -> bytes:
    if visit.kind == "ct":
        return ct_bytes(image.values, visit.identity, spacing_mm=image.spacing_mm, position_mm=image.position_mm)
    return radiograph_bytes(
        image.values,
        visit.identity,
        detector=visit.detector,
        spacing_mm=image.spacing_mm,
        view=image.view,
        window=_WINDOW,
    )


def _check(count: int, seed: int, size: int, kind: str) -> None:
    if count < 1:
        raise UsageError("The number of pictures is too small.", where="count", expected="1 or more", got=count)
    if seed < 0:
        raise UsageError("The seed is negative.", where="seed", expected="0 or more", got=seed)
    if not 64 <= size <= 2048:
        raise UsageError("The picture size is out of range.", where="size", expected="64 to 2048 pixels", got=size)
    if kind not in KINDS:
        raise UsageError("There is no such kind of phantom.", where="kind", expected=", ".join(KINDS), got=kind)


def readme(count: int, seed: int, size: int, kind: str) -> str:
    """README.md of a phantom dataset."""
    return f"""# Phantom chest pictures

{count} computer-drawn pictures (kind: {kind}, seed {seed}, {size} x {size} pixels) with 0 to 3 findings each, made by
`medclm sample phantom --count {count} --seed {seed}`. No patient is shown. The same command writes the same bytes.

- `images/`: 16-bit DICOM. Radiographs are 12 bits in MONOCHROME1 or MONOCHROME2; CT slices are in Hounsfield units.
- `annotations.json`: COCO; boxes `[x, y, width, height]` in pixels, masks as compressed run-length codes.
  Attributes say the true host organ, the patient's side and, on radiographs, the zone (third of the lung's box).
- `masks/<image id>/<organ>.png`: the true organ masks, 0 or 255. Left and right are the patient's.

Findings: {", ".join(LABELS)}.

Licence: generated data, free to use under CC0 1.0. Not for diagnosis.
"""

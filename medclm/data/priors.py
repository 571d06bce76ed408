"""Earlier images: each record gets the last image of the same patient, modality, plane and view before it."""

from __future__ import annotations

from collections import defaultdict

from medclm.data.records import Prior, Record


def with_priors(records: list[Record], incomplete: frozenset[str]) -> list[Record]:
    """``records`` in their order, with ``prior`` (without its picture) where there is an earlier image.

    Only images with a ``study_day`` are ordered; images of one day are no priors of each other, and slices of a volume
    have none (the same place in two scans is not known without registration). A prior that lost findings
    (``incomplete``) is none, because "new" would not be true.
    """
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        if record.study_day is not None and not record.source.volume and record.plane != "axial":
            groups[(record.patient_id, record.modality, record.plane, record.view)].append(record)
    priors: dict[str, Prior] = {}
    for group in groups.values():
        group.sort(key=lambda record: (record.study_day, record.image_id))
        before: Record | None = None
        for at, record in enumerate(group):
            if at and group[at - 1].study_day != record.study_day:
                before = group[at - 1]
            if before is not None and before.image_id not in incomplete and not before.labels:
                priors[record.image_id] = _prior(before, record)
    return [r.model_copy(update={"prior": priors[r.image_id]}) if r.image_id in priors else r for r in records]


def _prior(before: Record, now: Record) -> Prior:
    assert before.study_day is not None
    assert now.study_day is not None
    return Prior(
        image_id=before.image_id,
        uri=before.source.uri,
        frame=before.source.frame,
        days=now.study_day - before.study_day,
        spacing_mm=before.spacing_mm,
        findings=before.findings,
    )

"""Which column of a table of image-level labels says what, and the maps of published tables."""

from __future__ import annotations

from string import Formatter
from typing import Literal

from pydantic import Field, model_validator

from medclm.data.readers.column_map import Columns
from medclm.data.readers.presets import NIH_PATIENT


class LabelColumns(Columns):
    """Which column says what; "" where none does. Names are the header's, without blanks at either end.

    Attributes:
        image: file name, path, or file name without its extension; or
        study_folder: name of the folder of one study's images, with columns in braces (``s{study_id}``), where a row
            is a study: each image in that folder has the row's labels.
        id_parts: how many of the last parts of the path, without extension and joined with ``_``, are the image id:
            3 for CheXpert, whose files are called alike (``patient00001/study1/view1_frontal.jpg``).
        labels: columns that are findings by their names; or
        listed: the column that lists findings.
        separator: between the findings of a list that is no Python list.
        complete: a list that says "no finding" and nothing else denies every finding of the table.
        exhaustive: each image was judged by every finding of the table, so that a list denies what it does not name.
        patient, study, view, plane, modality, split: of the image.
        fixed: what no column says because it is the same in every row.
    """

    image: str = ""
    study_folder: str = ""
    id_parts: int = Field(default=1, ge=1)
    labels: tuple[str, ...] = ()
    listed: str = ""
    separator: str = "|"
    complete: bool = False
    exhaustive: bool = False
    patient: str = ""
    study: str = ""
    view: str = ""
    plane: str = ""
    modality: str = ""
    split: str = ""
    fixed: dict[Literal["modality", "plane", "view"], str] = Field(default={})

    @model_validator(mode="after")
    def _one_form(self) -> LabelColumns:
        if bool(self.image) == bool(self.study_folder):
            raise ValueError("name the column `image`, or the `study_folder`")
        if bool(self.labels) == bool(self.listed):
            raise ValueError("name the findings' own columns `labels`, or the column `listed`")
        if not self.separator or ((self.complete or self.exhaustive) and not self.listed):
            raise ValueError("`separator` must not be empty; `complete` and `exhaustive` are for `listed`")
        return self

    @property
    def columns(self) -> list[str]:
        """Every column that the table must have."""
        own = ("image", "listed", "patient", "study", "view", "plane", "modality", "split")
        named = (*(getattr(self, name) for name in own), *self.study_columns, *self.labels)
        return [column for column in named if column]

    @property
    def study_columns(self) -> list[str]:
        """The columns that ``study_folder`` has in braces."""
        return [field for _, field, _, _ in Formatter().parse(self.study_folder) if field]


NIH_LABELS = LabelColumns(
    image="Image Index",
    listed="Finding Labels",
    complete=True,
    exhaustive=True,
    view="View Position",
    patient_pattern=NIH_PATIENT,
    fixed={"modality": "DX", "plane": "frontal"},
)
"""NIH ChestX-ray14, ``Data_Entry_2017.csv``: 14 findings or "No Finding" for each of 112,120 radiographs.

Exhaustive: each report was mined for all of the findings, and the published label is a vector with a 0 or a 1 for each
(Wang et al., CVPR 2017, sections 3 and 4). A 0 is as good as the mining was.
"""

CHEXPERT_LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip

CHEXPERT = LabelColumns(
    image="Path",
    id_parts=3,
    labels=CHEXPERT_LABELS,
    view="AP/PA",
    plane="Frontal/Lateral",
    patient_pattern=r"(patient\d+)_",
    fixed={"modality": "DX"},
)
"""CheXpert, ``train.csv`` and ``valid.csv``."""

MIMIC_CXR = LabelColumns(
    study_folder="s{study_id}",
    labels=CHEXPERT_LABELS,
    patient="subject_id",
    study="study_id",
    fixed={"modality": "DX"},
)
"""MIMIC-CXR-JPG, ``mimic-cxr-2.0.0-chexpert.csv.gz``: a row a study, images in ``p10/p10000032/s50414267``."""

PADCHEST = LabelColumns(
    image="ImageID",
    listed="Labels",
    complete=True,
    view="Projection",
    patient="PatientID",
    study="StudyID",
    fixed={"modality": "DX"},
)
"""PadChest: the labels of each radiograph's report. Not exhaustive: a report says what its reader thought worth saying,
so that only "normal" denies anything (Bustos et al., Medical Image Analysis 2020)."""

"""Column maps of published chest radiograph tables.

Coordinates of all three are pixels of the published picture; halves of a pixel are beyond what their pages define, so
they are taken as they stand, as edges from 0.
"""

from __future__ import annotations

from medclm.data.readers.base import ReadResult
from medclm.data.readers.consensus import Consensus
from medclm.data.readers.rows import read_header
from medclm.data.readers.table import ColumnMap, read_table

NIH_PATIENT = r"(\d{8})_\d{3}"
"""NIH ChestX-ray14 names a file by its patient and the follow-up number."""

NIH = ColumnMap(
    image="Image Index",
    label="Finding Label",
    x="Bbox [x",
    y="y",
    w="w",
    h="h]",
    patient_pattern=NIH_PATIENT,
    fixed={"modality": "DX", "plane": "frontal"},
)
"""``BBox_List_2017.csv``: its header means ``Bbox [x,y,w,h]`` as one name, but as CSV that is four, and they fit."""

VINDR = ColumnMap(
    image="image_id",
    label="class_name",
    rater="rad_id",
    x1="x_min",
    y1="y_min",
    x2="x_max",
    y2="y_max",
    fixed={"modality": "DX", "plane": "frontal"},
)
"""VinDr-CXR, ``train.csv`` of the VinBigData challenge and ``annotations_*.csv`` of PhysioNet."""


def read_nih(images: str, annotations: str, dataset: str) -> ReadResult:
    """Read the NIH ChestX-ray14 box list: 984 boxes of 8 findings on 880 of 112,120 images.

    It shows an example of a finding, not every finding of an image: all images are ``incomplete``. Arguments and errors
    as in :func:`medclm.data.readers.table.read_table`.
    """
    return read_table(images, annotations, dataset, NIH, positives_only=True, reader="nih")


def read_vindr(images: str, annotations: str, dataset: str, consensus: Consensus = "majority") -> ReadResult:
    """Read VinDr-CXR: three radiologists an image in the training part, one agreed reading in the test part.

    Arguments and errors as in :func:`medclm.data.readers.table.read_table`; ``consensus`` holds where the table has the
    column ``rad_id``. A row "No finding" is a vote for nothing.
    """
    if "rad_id" in read_header(annotations):
        return read_table(images, annotations, dataset, VINDR, consensus, reader="vindr")
    return read_table(images, annotations, dataset, VINDR.model_copy(update={"rater": ""}), reader="vindr")


def read_rsna(images: str, annotations: str, dataset: str, label: str = "Lung Opacity") -> ReadResult:
    """Read the RSNA pneumonia challenge, ``stage_2_train_labels.csv``: one row a box, or one of ``Target`` 0.

    ``patientId`` is the file's stem; the set has one image of each patient. What was marked is a lung opacity that may
    be pneumonia, hence ``label``. Other arguments and errors as in :func:`medclm.data.readers.table.read_table`.
    """
    columns = ColumnMap(
        image="patientId",
        x="x",
        y="y",
        w="width",
        h="height",
        present="Target",
        fixed={"label": label, "plane": "frontal"},
    )
    return read_table(images, annotations, dataset, columns, reader="rsna")

"""TotalSegmentator on a tiny CT series. Its networks cannot be had here: a threshold stands at its public function."""

from __future__ import annotations

import numpy as np
import pytest

from medclm.data.display import Display
from medclm.data.records import Source
from medclm.data.segmenters import SegmenterInput, check_segmenter
from medclm.data.segmenters import totalsegmentator as adapter
from medclm.errors import MedclmError, UsageError
from tests.data.readers import dicom_files as files

STAND_IN = '''
import nibabel, numpy as np

def totalsegmentator(input, output=None, ml=False, fast=False, task="total", device="gpu", quiet=False, fastest=False):
    """Signature of TotalSegmentator 2 as far as the adapter uses it; -1022 HU and more is liver (CT) or spleen (MR)."""
    assert isinstance(input, nibabel.Nifti1Image) and output is None and ml and quiet and device == "cpu"
    assert fast and not fastest
    labels = (np.asarray(input.dataobj) >= -1022) * {"total": 5, "total_mr": 1}[task]
    return nibabel.Nifti1Image(labels.astype(np.uint8), input.affine)
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The stand-in as the package, and weights of the fast CT network."""
    package = tmp_path / "site" / "totalsegmentator"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "python_api.py").write_text(STAND_IN)
    info = tmp_path / "site" / "TotalSegmentator-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: TotalSegmentator\nVersion: 2.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "weights"))
    (tmp_path / "weights" / "Dataset297_TotalSegmentator_total_3mm_1559subj").mkdir(parents=True)
    (tmp_path / "weights" / "Dataset297_TotalSegmentator_total_3mm_1559subj" / "plans.json").write_text("{}")
    return tmp_path


def slice_of(folder, k: int, modality: str = "CT") -> SegmenterInput:
    shown = np.zeros((files.ROWS, files.COLS), np.uint8)
    source = Source(uri=str(folder / f"ct{k}.dcm"), reader="x", volume=str(folder))
    return SegmenterInput(str(k), shown, shown.astype(np.float32), source, Display(), modality)


@pytest.fixture
def series(tmp_path):
    files.write_series(tmp_path / "images")  # slice k holds the value k - 1024
    return tmp_path / "images" / "study" / "series"


def test_the_volume_is_segmented_and_slices_get_their_labels(installed, series):
    check_segmenter("totalsegmentator:fast")
    segmenter = adapter.load("fast", "cpu")
    assert segmenter.name == "totalsegmentator:fast@2.0"
    found = segmenter([slice_of(series, k) for k in range(3)])
    assert [sorted(masks) for masks in found] == [[], [], ["liver"]]
    assert found[2]["liver"].all()


def test_weights_of_the_other_modality_are_asked_for_and_never_fetched(installed, series):
    with pytest.raises(UsageError, match="totalseg_download_weights -t total_fast_mr"):
        adapter.load("fast", "cpu")([slice_of(series, 2, "MR")])
    mr = installed / "weights" / "Dataset852_TotalSegMRI_total_3mm_1088subj"
    mr.mkdir()
    (mr / "plans.json").write_text("{}")
    assert sorted(adapter.load("fast", "cpu")([slice_of(series, 2, "MR")])[0]) == ["spleen"]


def test_only_ct_and_mr(installed, series):
    with pytest.raises(MedclmError, match="takes CT and MR volumes"):
        adapter.load("fast", "cpu")([slice_of(series, 0, "DX")])


def test_weights_of_another_mode_do_not_count(installed):
    with pytest.raises(UsageError, match=r"Dataset291_\*"):
        check_segmenter("totalsegmentator")

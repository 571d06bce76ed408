from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medclm.samples.dicom_file import DETECTORS, Detector, Identity, ct_bytes, radiograph_bytes

WHO = Identity("phantom-0-00001", study=1, series=1, instance=1)


def written(grey: np.ndarray, detector: Detector) -> pydicom.FileDataset:
    data = radiograph_bytes(grey, WHO, detector=detector, spacing_mm=1.5, view="PA", window=(0.0, 1.0))
    return pydicom.dcmread(BytesIO(data))


def displayed(ds: pydicom.FileDataset) -> np.ndarray:
    """The standard chain by pydicom: modality LUT, VOI window, MONOCHROME1 inversion; 0 to 1."""
    values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds)
    top = ds.RescaleSlope * 4095 + ds.RescaleIntercept
    share = (values - ds.RescaleIntercept) / (top - ds.RescaleIntercept)
    return 1 - share if ds.PhotometricInterpretation == "MONOCHROME1" else share


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_shows_the_same_picture(detector):
    grey = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    ds = written(grey, detector)
    assert np.abs(displayed(ds) - grey).max() < 0.003
    assert (ds.pixel_array.max() < 4096, ds.BitsAllocated, ds.BitsStored) == (True, 16, 12)


def test_monochrome1_stores_bright_as_low():
    grey = np.array([[0.0, 1.0], [0.5, 0.25]], dtype=np.float32)
    inverted, plain = written(grey, DETECTORS[1]), written(grey, DETECTORS[0])
    assert inverted.PhotometricInterpretation == "MONOCHROME1"
    assert inverted.pixel_array.tolist() == [[3900, 300], [2100, 3000]]
    assert plain.pixel_array.tolist() == [[180, 3700], [1940, 1060]]


def test_radiograph_says_what_it_is():
    ds = written(np.zeros((4, 6), dtype=np.float32), DETECTORS[0])
    assert (ds.Modality, ds.ViewPosition, list(ds.PatientOrientation)) == ("DX", "PA", ["L", "F"])
    assert (ds.Rows, ds.Columns, list(ds.PixelSpacing)) == (4, 6, [1.5, 1.5])
    assert ds.ImagerPixelSpacing[0] > ds.PixelSpacing[0]
    assert ds.PatientID == "phantom-0-00001"


def test_ct_holds_hounsfield_units_and_geometry():
    hounsfield = np.array([[-1000, 40], [-1100, 3200]], dtype=np.float32)
    ds = pydicom.dcmread(BytesIO(ct_bytes(hounsfield, WHO, spacing_mm=0.5, position_mm=-30)))
    assert apply_modality_lut(ds.pixel_array, ds).tolist() == [[-1000, 40], [-1024, 3071]]
    assert list(ds.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert list(ds.ImagePositionPatient) == [-0.25, -0.25, -30]
    assert (ds.Modality, ds.PixelRepresentation, ds.RescaleIntercept) == ("CT", 1, -1024)


def test_bytes_and_uids_follow_from_the_arguments():
    grey = np.full((4, 4), 0.5, dtype=np.float32)
    kwargs = {"detector": DETECTORS[0], "spacing_mm": 1.0, "view": "AP", "window": (0.0, 1.0)}
    assert radiograph_bytes(grey, WHO, **kwargs) == radiograph_bytes(grey, WHO, **kwargs)
    other = Identity("phantom-0-00001", study=2, series=1, instance=1)
    assert WHO.uid("study") != other.uid("study")
    assert WHO.uid("instance") != other.uid("instance")
    assert all(WHO.uid(level).is_valid for level in ("study", "series", "instance"))
    assert len({WHO.uid(level) for level in ("study", "series", "instance")}) == 3

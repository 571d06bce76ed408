"""``POST /v1/render``: windows, frames and refusals."""

from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom.data import get_testdata_file

from medclm.data.images import read_picture, render
from medclm.data.records import Window
from medclm.serve.api import Limits, make_api
from medclm.serve.guards import ApiError
from medclm.serve.render import parse_window
from tests.data.dicom_bytes import dicom
from tests.serve.local import Local


@pytest.fixture(scope="module")
def post(predictor):
    client = TestClient(make_api(Local(predictor), Limits(name="tiny", max_upload_bytes=200_000)))
    return lambda data, **form: client.post("/v1/render", files={"file": data}, data=form)


def pixels(body) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body["image"]["data"].partition(",")[2]))))


def grey(body) -> np.ndarray:
    """(H, W) float32."""
    image, data = body["image"], zlib.decompress(base64.b64decode(body["grey"]["data"]))
    return np.frombuffer(data, "<f4").reshape(image["height"], image["width"])


def test_ct_in_a_window_of_ones_own(post):
    data = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    body = post(data, window="-100.5,900").json()
    picture = read_picture(data, "a")
    np.testing.assert_array_equal(pixels(body), render(picture, Window(center=-100.5, width=900))[0])
    assert body["image"]["window"] == {"center": -100.5, "width": 900, "name": ""}
    assert (body["modality"], body["frame"], body["frames"]) == ("CT", 0, 1)
    assert body["values"] == [picture.values.min(), picture.values.max()]
    np.testing.assert_array_equal(grey(body), picture.values)
    assert body["grey"]["inverted"] is False
    assert "lung" in [preset["name"] for preset in body["presets"]]


def test_grey_values_are_turned_with_the_picture_and_not_inverted(post):
    """Stored rows run to the patient's right."""
    stored = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    cosines = [-1, 0, 0, 0, 1, 0]
    body = post(dicom(stored, ImageOrientationPatient=cosines, PhotometricInterpretation="MONOCHROME1")).json()
    assert grey(body).tolist() == [[30, 20, 10], [60, 50, 40]]
    assert (body["grey"]["inverted"], pixels(body).tolist()) == (True, [[225, 235, 245], [195, 205, 215]])


def test_frames(post):
    frames = [Image.fromarray(np.full((3, 4), value, np.uint8)) for value in (10, 20, 30)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    middle = post(buffer.getvalue()).json()
    assert (middle["frame"], middle["frames"], middle["values"], middle["grey"]) == (1, 3, None, None)
    assert set(pixels(middle).ravel()) == {20}
    assert set(pixels(post(buffer.getvalue(), frame=2).json()).ravel()) == {30}
    assert post(buffer.getvalue(), frame=3).status_code == 400


def test_refusals(post, png):
    assert post(png, window="violet").status_code == 400
    assert post(b"no picture").json()["error"]["code"] == "invalid_image"
    assert post(bytes(200_001)).status_code == 413


@pytest.mark.parametrize("text", ["1,0", "1,-3", "nan,1", "1,inf", "a,b", "1e30,1", ","])
def test_windows_that_are_none(text):
    with pytest.raises(ApiError):
        parse_window(text)


def test_windows():
    assert parse_window("lung") == "lung"
    assert parse_window("40,400") == Window(center=40, width=400)

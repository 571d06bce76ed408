"""LIDC-IDRI-0001 from its wheels: skipped where pip cannot fetch them."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from medclm.data.anatomy import organs
from medclm.errors import UsageError
from medclm.samples.lidc import write_lidc


def hounsfield(folder: Path, image_id: str) -> np.ndarray:
    ds = pydicom.dcmread(folder / "images" / f"{image_id}.dcm")
    return ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


def organ(folder: Path, image_id: str, name: str) -> np.ndarray:
    return np.array(Image.open(folder / "masks" / image_id / f"{name}.png")) > 127


def lesions(folder: Path) -> dict[str, tuple[dict, np.ndarray]]:
    coco = json.loads((folder / "annotations.json").read_text())
    names = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
    return {names[a["image_id"]]: (a, coco_mask.decode(a["segmentation"]).astype(bool)) for a in coco["annotations"]}


def test_the_nodule_is_where_the_radiologists_drew_it(lidc):
    found = lesions(lidc)
    assert sorted(found) == [f"chest-ct-{n:03d}" for n in range(40, 48)]
    annotation, mask = found["chest-ct-044"]
    # The four outlines span columns 298-336 and rows 340-386: x is the column.
    assert (annotation["bbox"], annotation["area"]) == ([299.0, 343.0, 36.0, 42.0], 924)
    assert mask.sum() == 924


def test_there_is_tissue_under_the_mask_and_air_under_its_transpose(lidc):
    for image_id, (_, mask) in lesions(lidc).items():
        values = hounsfield(lidc, image_id)
        assert values[mask.T].mean() < -750
        assert values[mask].mean() > values[mask.T].mean() + 250
    values = hounsfield(lidc, "chest-ct-044")
    assert 0 < values[lesions(lidc)["chest-ct-044"][1]].mean() < 60


def test_every_lesion_lies_in_the_left_lower_lobe(lidc):
    for image_id, (annotation, mask) in lesions(lidc).items():
        x, y, w, h = (int(v) for v in annotation["bbox"])
        lobe = organ(lidc, image_id, "left_lower_lobe")
        assert lobe[mask].mean() > 0.99
        assert lobe[y : y + h, x : x + w].mean() > 0.9


def test_sizes_and_ratings(lidc):
    for annotation, mask in lesions(lidc).values():
        facts = annotation["attributes"]
        longest = 0.703125 * max(annotation["bbox"][2:])
        assert longest * 0.85 < facts["diameter_mm"] < longest * 1.5
        assert facts["readers"] == 4
        assert facts["readers_on_slice"] >= 3
        assert (facts["malignancy"], facts["texture"], facts["calcification"]) == (
            "highly suspicious",
            "solid",
            "absent",
        )
        assert mask.any()


def test_organs_have_the_density_they_should(lidc):
    values = hounsfield(lidc, "chest-ct-090")
    means = {n: values[organ(lidc, "chest-ct-090", n)].mean() for n in ("right_lower_lobe", "liver", "vertebra_t11")}
    assert means["right_lower_lobe"] == pytest.approx(-828, abs=2)
    assert means["liver"] == pytest.approx(74, abs=2)
    assert means["vertebra_t11"] == pytest.approx(218, abs=2)
    assert organ(lidc, "chest-ct-090", "liver").nonzero()[1].mean() < 256  # the patient's right
    assert organ(lidc, "chest-ct-090", "spleen").nonzero()[1].mean() > 256
    assert {p.stem for p in lidc.glob("masks/*/*.png")} <= set(organs())


def test_slices_are_the_published_files_from_the_head_down(lidc):
    coco = json.loads((lidc / "annotations.json").read_text())
    positions = [image["position_mm"] for image in coco["images"]]
    assert (positions[0], positions[-1]) == (-10.0, -340.0)
    assert np.allclose(np.diff(positions), -2.5)
    header = pydicom.dcmread(lidc / "images" / "chest-ct-001.dcm", stop_before_pixels=True)
    assert (header.PatientIdentityRemoved, str(header.PatientName), header.PatientID) == ("YES", "", "LIDC-IDRI-0001")
    assert "CC BY 3.0" in (lidc / "README.md").read_text()


def test_every_takes_each_nth_slice(lidc, tmp_path):
    summary = write_lidc(tmp_path / "few", every=43)
    assert [p.stem for p in sorted((tmp_path / "few" / "images").iterdir())] == [
        f"chest-ct-{n:03d}" for n in (1, 44, 87, 130)
    ]
    assert (summary["images"], summary["findings"], summary["empty"]) == (4, 1, 3)


def test_a_step_below_one_is_refused(tmp_path):
    with pytest.raises(UsageError):
        write_lidc(tmp_path / "d", every=0)

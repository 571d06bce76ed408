import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from medclm.data.anatomy import is_admissible, organs
from medclm.errors import UsageError
from medclm.samples.chest import draw_chest, sample_anatomy
from medclm.samples.fields import make_grid
from medclm.samples.phantom import draw, visits, write_phantom
from medclm.samples.place import LABELS, zone_of
from medclm.samples.radiograph import add_findings

LOBES = {"left": ("left_upper_lobe", "left_lower_lobe")}
LOBES["right"] = ("right_upper_lobe", "right_middle_lobe", "right_lower_lobe")


def files(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "mixed"
    write_phantom(out, 40, seed=7, size=128, kind="mixed")
    return out


def load_masks(folder: Path, image_id: str) -> dict[str, np.ndarray]:
    return {p.stem: np.array(Image.open(p)) > 127 for p in (folder / "masks" / image_id).iterdir()}


def findings(folder: Path):
    """Image entry, organ masks, label, annotation and lesion mask of each annotation."""
    coco = json.loads((folder / "annotations.json").read_text())
    images = {image["id"]: image for image in coco["images"]}
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for annotation in coco["annotations"]:
        image = images[annotation["image_id"]]
        lesion = coco_mask.decode(annotation["segmentation"]).astype(bool)
        masks = load_masks(folder, Path(image["file_name"]).stem)
        yield image, masks, names[annotation["category_id"]], annotation, lesion


def test_same_seed_same_bytes_and_count_does_not_matter(tmp_path):
    write_phantom(tmp_path / "a", 6, seed=3, size=64, kind="mixed")
    write_phantom(tmp_path / "b", 6, seed=3, size=64, kind="mixed")
    write_phantom(tmp_path / "c", 4, seed=3, size=64, kind="mixed")
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    shared = [name for name in c if name.startswith(("images", "masks"))]
    assert len([name for name in shared if name.startswith("images")]) == 4
    assert {name: a[name] for name in shared} == {name: c[name] for name in shared}


def test_another_seed_gives_other_pictures(tmp_path):
    write_phantom(tmp_path / "a", 2, seed=0, size=64)
    write_phantom(tmp_path / "b", 2, seed=1, size=64)
    assert not set(files(tmp_path / "a" / "images").values()) & set(files(tmp_path / "b" / "images").values())


def test_radiographs_do_not_depend_on_kind():
    plain = {v.image_id: v for v in visits(30, 0, "radiograph")}
    chosen = [v for v in visits(30, 0, "mixed") if v.kind == "radiograph"]
    assert 0 < len(chosen) < 30
    assert all(v == plain[v.image_id] for v in chosen)


def test_summary_agrees_with_the_files(tmp_path):
    summary = write_phantom(tmp_path / "d", 10, seed=1, size=64)
    coco = json.loads((tmp_path / "d" / "annotations.json").read_text())
    assert summary["images"] == len(coco["images"]) == len(list((tmp_path / "d" / "images").iterdir())) == 10
    assert summary["findings"] == len(coco["annotations"]) == sum(summary["labels"].values())
    assert summary["patients"] == len({image["patient_id"] for image in coco["images"]}) < 10
    assert summary["empty"] == 10 - len({a["image_id"] for a in coco["annotations"]})


def test_files_open_and_agree_with_their_entries(mixed):
    coco = json.loads((mixed / "annotations.json").read_text())
    seen, frames = set(), {}
    for image in coco["images"]:
        ds = pydicom.dcmread(mixed / "images" / image["file_name"])
        assert (ds.Rows, ds.Columns) == (image["height"], image["width"]) == (128, 128)
        assert (ds.PatientID, ds.StudyInstanceUID) == (image["patient_id"], image["study_id"])
        assert [float(v) for v in ds.PixelSpacing] == image["spacing_mm"]
        assert ds.Modality == image["modality"]
        seen.add((ds.Modality, ds.PhotometricInterpretation, image["plane"]))
        frames.setdefault(image["patient_id"], []).append(ds.SOPInstanceUID)
    assert seen == {("CT", "MONOCHROME2", "axial"), ("DX", "MONOCHROME1", "frontal"), ("DX", "MONOCHROME2", "frontal")}
    uids = [uid for group in frames.values() for uid in group]
    assert len(uids) == len(set(uids))
    assert max(map(len, frames.values())) > 1


def test_every_box_is_its_masks_and_every_host_is_true(mixed):
    checked = 0
    for _, masks, label, annotation, lesion in findings(mixed):
        rows, columns = np.nonzero(lesion)
        x1, y1 = columns.min(), rows.min()
        assert annotation["bbox"] == [x1, y1, columns.max() + 1 - x1, rows.max() + 1 - y1]
        assert annotation["area"] == lesion.sum()
        host = annotation["attributes"]["organ"]
        assert is_admissible(label, host)
        assert masks[host][lesion].mean() >= 0.7
        checked += 1
    assert checked > 20


def test_sides_and_zones_are_the_patients(mixed):
    for image, masks, label, annotation, lesion in findings(mixed):
        facts = annotation["attributes"]
        if label == "cardiomegaly":
            assert facts["side"] == "midline"
            continue
        assert facts["organ"] in LOBES[facts["side"]]
        middle = np.nonzero(masks["spine"])[1].mean()
        on_picture_right = np.nonzero(lesion)[1].mean() > middle
        assert on_picture_right == (facts["side"] == "left")
        if image["plane"] == "frontal":
            x, y, w, h = annotation["bbox"]
            assert facts["zone"] == zone_of((x, y, x + w, y + h), masks[f"{facts['side']}_lung"])
        else:
            assert "zone" not in facts


def test_masks_are_of_the_vocabulary_and_lobes_make_lungs(mixed):
    for folder in (mixed / "masks").iterdir():
        masks = load_masks(mixed, folder.name)
        assert set(masks) <= set(organs())
        for side, lobes in LOBES.items():
            parts = [masks[lobe] for lobe in lobes if lobe in masks]
            assert np.array_equal(np.sum(parts, axis=0), masks[f"{side}_lung"].astype(int))
        assert np.nonzero(masks["left_lung"])[1].mean() > np.nonzero(masks["right_lung"])[1].mean()


@pytest.mark.parametrize("label", [label for label in LABELS if label != "cardiomegaly"])
def test_each_finding_changes_the_picture_where_its_mask_is(label):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        chest = draw_chest(sample_anatomy(rng), make_grid(96, 390.0), rng)
        healthy = chest.grey.copy()
        (found,) = add_findings(chest, [label], rng)
        change = chest.grey - healthy
        inside = change[found.mask]
        assert np.quantile(inside, 0.2) < -0.1 if label == "pneumothorax" else np.quantile(inside, 0.8) > 0.15
        assert np.abs(change[~found.mask]).mean() < 0.02


def test_cardiomegaly_means_a_wide_heart():
    rng = np.random.default_rng(0)
    anatomy, grid = sample_anatomy(rng), make_grid(256, 390.0)
    for ratio, low, high in ((None, 0.38, 0.52), (0.6, 0.57, 0.63)):
        masks = draw_chest(anatomy, grid, rng, ratio).masks
        heart = np.flatnonzero(masks["heart"].any(axis=0))
        lungs = np.flatnonzero((masks["left_lung"] | masks["right_lung"]).any(axis=0))
        assert low < (heart[-1] - heart[0] + 1) / (lungs[-1] - lungs[0] + 1) < high


def test_findings_of_a_picture_keep_apart():
    for visit in visits(60, 11, "radiograph"):
        masks = [f.mask for f in draw(visit, 64).findings]
        assert not masks or np.sum(masks, axis=0).max() <= 1


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"count": 1, "seed": -1}, {"count": 1, "size": 8}, {"count": 1, "kind": "mri"}]
)
def test_arguments_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        write_phantom(tmp_path / "d", **wrong)
    assert not (tmp_path / "d").exists()

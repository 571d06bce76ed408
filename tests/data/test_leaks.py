"""The scan finds what is planted, wherever a dataset can hide it, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import tarfile

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from medclm.data.leaks import Leak, scan_for_leaks
from medclm.data.privacy import pseudonymise
from medclm.data.report import build_report
from tests.hand_dataset import make_record, write_dataset


def png_with(text: str) -> bytes:
    """A PNG whose only trace of ``text`` is in a compressed chunk."""
    info, buffer = PngInfo(), io.BytesIO()
    info.add_itxt("Comment", text, zip=True)
    PIL.Image.new("L", (8, 8)).save(buffer, "PNG", pnginfo=info)
    assert text.encode() not in buffer.getvalue()
    return buffer.getvalue()


def places(folder, *planted) -> list[tuple[str, str]]:
    return [(leak.file, leak.place) for leak in scan_for_leaks(folder, list(planted))]


def test_columns_of_a_built_dataset(tmp_path):
    record = make_record(1, "train", True, patient="Jane Doe")
    image = record.image.model_copy(update={"bytes": png_with("Jane Doe"), "width": 8, "height": 8})
    write_dataset(tmp_path, [record.model_copy(update={"findings": (), "questions": (), "image": image})])
    shard = "shards/shard-00000.parquet"
    found = places(tmp_path, "JANE doe")
    assert (shard, "patient_id") in found
    assert (shard, "image.bytes Comment") in found
    assert places(tmp_path, "John Roe") == []


def test_a_pseudonymised_dataset_with_its_report_is_clean(tmp_path):
    records = [make_record(n, split, True, patient=f"Doe^{n}^1970") for n, split in ((1, "train"), (2, "test"))]
    planted = [value for one in records for value in (one.patient_id, one.image_id)]
    build_report(write_dataset(tmp_path / "raw", records))
    assert {leak.planted for leak in scan_for_leaks(tmp_path / "raw", planted)} == set(planted)
    build_report(write_dataset(tmp_path / "hidden", [pseudonymise(one, b"k" * 16) for one in records]))
    assert scan_for_leaks(tmp_path / "hidden", planted) == []


@pytest.mark.parametrize("planted", ["O'Brien", "Müller", "19700101"])
def test_texts_pages_and_names(tmp_path, planted):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.json").write_text(json.dumps({"who": planted}))
    (tmp_path / "b.html").write_text(f"<p>{planted.upper()}</p>".replace("'", "&#39;"))
    (tmp_path / "c.bin").write_bytes(b"\0\xff" + planted.encode("utf-16-le"))
    (tmp_path / "sub" / f"{planted}.md").write_text("nothing")
    (tmp_path / "clean.txt").write_text("nothing, 1970-01-01, Muller")
    assert places(tmp_path, planted) == [
        ("a.json", ""), ("b.html", ""), ("c.bin", ""), (f"sub/{planted}.md", "file name"),
    ]  # fmt: skip


def test_pictures_in_pages_tar_files_and_exif(tmp_path):
    uri = base64.b64encode(png_with("secret one")).decode()
    (tmp_path / "page.html").write_text(f'<img src="data:image/png;base64,{uri}">')
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        entry, data = tarfile.TarInfo("0.png"), png_with("secret two")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    picture = PIL.Image.new("RGB", (8, 8))
    exif = picture.getexif()
    exif[0x010E] = "secret three"
    picture.save(tmp_path / "photo.jpg", exif=exif)
    assert scan_for_leaks(tmp_path, ["secret one", "secret two"]) == [
        Leak("secret one", "page.html", "data URI 0 Comment"), Leak("secret two", "t.tar", "0.png Comment"),
    ]  # fmt: skip
    assert ("photo.jpg", "EXIF 270") in places(tmp_path, "secret three")


def test_an_empty_string_is_refused(tmp_path):
    with pytest.raises(ValueError, match="everywhere"):
        scan_for_leaks(tmp_path, [""])

"""medclm.data.overlay_text: exact boxes of hand-made lines, and rates on real radiographs, phantoms and drawn names."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import ImageDraw, ImageFont

from medclm.data import images
from medclm.data.overlay_text import text_lines
from medclm.samples.phantom import write_phantom

# Radiographs of cxr-lung-masks-ccby83 that show a line of five or more characters, seen by eye.
SHOW_TEXT = {5, 11, 26, 30, 34, 39, 42, 44, 52, 53, 54, 57, 62, 63, 72, 74}
CUT_BY_THE_EDGE = {30, 52}
TEXTS = ("DOE^JANE 1961-07-04", "Smith, John", "04.07.1961", "ID 4488120", "ACC1234567")


def bars(count: int, ground: int, ink: int, scale: int = 1) -> np.ndarray:
    """``count`` bars of 4 x 12 px, 8 px apart, the first with its corner at x 20, y 30; all times ``scale``."""
    picture = np.full((240, 240), ground, np.uint8)
    for nth in range(count):
        picture[30:42, 20 + 8 * nth : 24 + 8 * nth] = ink
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (100, 230), (255, 0), (200, 40)])
def test_a_row_of_five_is_a_line_and_a_row_of_four_is_none(ground, ink):
    assert text_lines(bars(5, ground, ink)) == [(20.0, 30.0, 56.0, 42.0)]
    assert text_lines(bars(4, ground, ink)) == []


def test_a_small_picture_needs_a_longer_line():
    """In 480 phantoms of 128 px one chance row of five small marks was taken for text."""
    assert text_lines(bars(7, 0, 255)[:128, :128]) == []
    assert text_lines(bars(8, 0, 255)[:128, :128]) == [(20.0, 30.0, 80.0, 42.0)]


def test_middle_grey_and_faint_rows_are_no_text():
    assert text_lines(bars(8, 100, 180)) == []
    assert text_lines(bars(8, 225, 255)) == []


def test_a_row_without_a_baseline_is_no_text():
    picture = np.zeros((240, 240), np.uint8)
    for nth, drop in enumerate((0, 5, 1, 7, 3, 9, 4, 0)):
        picture[30 + drop : 42 + drop, 20 + 8 * nth : 24 + 8 * nth] = 255
    assert text_lines(picture) == []


def test_colour_counts_by_its_brightest_channel():
    picture = np.zeros((240, 240, 3), np.uint8)
    picture[..., 1] = bars(6, 0, 255)
    assert text_lines(picture) == [(20.0, 30.0, 64.0, 42.0)]


def test_boxes_of_a_reduced_picture_are_in_its_own_pixels():
    large = np.zeros((1600, 2000), np.uint8)
    large[:480, :480] = bars(6, 0, 255, scale=2)
    assert text_lines(large) == [(40.0, 60.0, 128.0, 84.0)]


def test_two_lines_come_from_top_to_bottom_and_tiny_pictures_are_empty():
    two = np.concatenate([bars(7, 0, 255), bars(5, 0, 255)])
    assert text_lines(two) == [(20.0, 30.0, 72.0, 42.0), (20.0, 270.0, 56.0, 282.0)]
    assert text_lines(np.zeros((1, 1), np.uint8)) == text_lines(np.full((3, 50), 255, np.uint8)) == []


def radiographs(folder: Path) -> list[np.ndarray]:
    return [np.array(PIL.Image.open(path).convert("L")) for path in sorted((folder / "images").iterdir())]


def test_real_radiographs(real_data):
    pictures = radiographs(real_data("cxr-lung-masks-ccby83"))
    flagged = {nth for nth, picture in enumerate(pictures) if text_lines(picture)}
    assert len(pictures) == 83
    assert flagged == SHOW_TEXT - CUT_BY_THE_EDGE


def test_no_phantom_is_flagged(tmp_path):
    seen = 0
    for size in (128, 256, 384, 512):
        write_phantom(tmp_path / str(size), 10, seed=size, size=size, kind="mixed")
        for path in sorted((tmp_path / str(size)).rglob("*.dcm")):
            assert text_lines(rendered(path)) == [], path
            seen += 1
    assert seen == 40


def rendered(path: Path) -> np.ndarray:
    return images.render(images.read_picture(path.read_bytes(), str(path)))[0]


def test_real_dicom(real_data):
    from pydicom.data import get_testdata_file

    for name in ("CT_small.dcm", "MR_small.dcm", "693_J2KR.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm"):
        path = get_testdata_file(name, download=False)
        assert path is None or text_lines(rendered(Path(path))) == [], name
    slices = sorted((real_data("totalsegmentator-ref") / "example_ct_dicom").iterdir())
    assert len(slices) == 20
    assert [path.name for path in slices if text_lines(rendered(path))] == []


@pytest.mark.parametrize("name", ["examples_jpeg2k.dcm", "examples_palette.dcm", "examples_rgb_color.dcm"])
def test_real_ultrasound_shows_the_hospital(name):
    """Colour ultrasound that comes with pydicom; "BAPTIST MED CTR", "Philips Healthcare" lie in its top 60 rows."""
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} does not come with this pydicom")
    assert any(y2 <= 60 and x2 - x1 > 70 for x1, _, x2, y2 in text_lines(rendered(Path(path))))


def draw(picture: np.ndarray, text: str, size: int, style: str, rng: np.random.Generator) -> tuple[np.ndarray, tuple]:
    """The picture with ``text`` and the text's box; on tissue, text is put where it stands out by 50 grey values."""
    font = ImageFont.load_default(size)
    image = PIL.Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    ink, ground = {"corner": (255, 0), "grey": (200, 0), "paper": (0, 250), "tissue": (230, None)}[style]
    for _ in range(100):
        x = int(rng.integers(4, picture.shape[1] - font.getlength(text) - 8))
        y = int(rng.integers(4, picture.shape[0] - size - 10))
        box = pen.textbbox((x, y), text, font=font)
        under = picture[int(box[1]) : int(box[3]) + 1, int(box[0]) : int(box[2]) + 1]
        if ground is not None or np.quantile(under, 0.9) <= ink - 50:
            break
    if ground is not None:
        pen.rectangle((box[0] - 6, box[1] - 6, box[2] + 6, box[3] + 6), fill=ground)
    if rng.integers(2):
        pen.text((x + 1, y + 1), text, font=font, fill=0 if ink > 100 else 255)
    pen.text((x, y), text, font=font, fill=ink)
    if rng.integers(2):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        image = PIL.Image.open(stream)
    return np.array(image), box


def found(picture: np.ndarray, box: tuple) -> bool:
    """Whether one box covers two fifths of the text's length."""
    x1, y1, x2, y2 = box
    return any(
        min(line[2], x2) - max(line[0], x1) > 0.4 * (x2 - x1) and min(line[3], y2) > max(line[1], y1)
        for line in text_lines(picture)
    )


def test_drawn_names_dates_and_numbers(real_data):
    rng = np.random.default_rng(0)
    bases = [
        picture
        for nth, picture in enumerate(radiographs(real_data("cxr-lung-masks-ccby83")))
        if nth not in SHOW_TEXT and min(picture.shape) > 400
    ]
    hits = []
    for size in (10, 12, 16, 20, 24, 28, 32):
        for style in ("corner", "grey", "paper", "tissue"):
            for text in TEXTS:
                base = bases[rng.integers(len(bases))]
                hits.append(found(*draw(base, text, size, style, rng)))
    assert len(hits) == 140
    assert np.mean(hits) >= 0.95


@pytest.mark.parametrize(("size", "seconds"), [(512, 0.06), (2048, 0.3)])
def test_it_is_fast(size, seconds):
    """Four times what one core takes here (13 and 55 ms), so that a busy machine does not fail it."""
    smooth = np.add.outer(np.arange(size), np.arange(size)) * (200 / (2 * size))
    picture = (smooth + np.random.default_rng(0).normal(0, 8, (size, size))).clip(0, 255).astype(np.uint8)
    spent = []
    for _ in range(5):
        start = time.process_time()
        text_lines(picture)
        spent.append(time.process_time() - start)
    assert min(spent) < seconds

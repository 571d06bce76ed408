"""Grey values and slices on the page, which windows a slice by itself: no Ray."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medclm.data.images import CT_WINDOWS, encode_png, read_picture, render
from medclm.data.records import Window
from tests.serve.browsing import ask, choose, gray_levels, grays

WINDOWED = """async ([values, inverted, window, step]) => {
  const { windowed } = await import("/page/slice.js");
  const slice = { image: { width: 3, height: 2 }, grey: { inverted, values: Float32Array.from(values) } };
  return (await windowed(slice, window, step)).data;
}"""
SETTLED = """() => {
  const text = (id) => document.getElementById(id).textContent;
  return text("caption").includes(`window ${text("center-out")} / ${text("width-out")}`);
}"""


@pytest.mark.parametrize(
    ("values", "inverted", "window", "step", "expected"),
    [
        ([0, 50, 100, 150, 200, float("nan")], False, (100.5, 101), 1, [0, 0, 128, 255, 255, 0]),
        ([0, 50, 100, 150, 200, float("nan")], True, (100.5, 101), 1, [255, 255, 128, 0, 0, 0]),
        ([-1, 0, 1, 2, 3, 4], False, (1, 1), 1, [0, 0, 255, 255, 255, 255]),
        ([0, 0.25, 0.375, 0.5, 0.75, 1], False, (0.5, 0.5), 1, [0, 0, 64, 128, 255, 255]),
        ([0, 50, 100, 150, 200, 0], False, (100.5, 101), 2, [0, 128]),
    ],
)
def test_windows_by_hand(opened, values, inverted, window, step, expected):
    """Of 3 x 2. A window begins at centre - 0.5 - (width - 1) / 2 and spans width - 1; below a width of 1 it begins at
    centre - width / 2 and spans the width.
    """
    window = {"center": window[0], "width": window[1], "name": ""}
    assert gray_levels(opened().evaluate(WINDOWED, [values, inverted, window, step])) == expected


WIDTHS = """() => {
  const image = document.getElementById("picture");
  window.widths = [];
  image.addEventListener("load", () => window.widths.push(image.naturalWidth));
}"""
"""Remember the width in pixels of every picture that is shown."""


def uploads(page) -> list[str]:
    """Grows with every request for a picture."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/v1/render") else None)
    return asked


def as_shown(data: bytes, window: Window | str, frame: int = 0) -> list[int]:
    return list(render(read_picture(data, "a", frame), window)[0].tobytes())


def test_window_of_a_dicom(opened, ct):
    page = opened()
    asked = uploads(page)
    choose(page, ct, "ct.dcm")
    assert grays(page) == as_shown(ct, "auto")
    page.select_option("#preset", "bone")
    page.wait_for_selector("#caption:has-text('400 / 1800 bone')")
    assert grays(page) == as_shown(ct, CT_WINDOWS["bone"])
    page.click("#tool-window")
    page.focus("#stage")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#preset option:checked:has-text('custom')", state="attached")
    center, width = (float(page.input_value(f"#{name}")) for name in ("center", "width"))
    assert center == pytest.approx(400 + 8 * 1800 / 250, abs=1)
    assert width == pytest.approx(1800, abs=1)
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page)
    address = sent.value.post_data_json["messages"][0]["content"][1]["image_url"]["url"]
    assert address == page.get_attribute("#picture", "src")  # the model gets the grey values that are shown
    assert grays(page) == as_shown(ct, Window(center=center, width=width))
    page.select_option("#preset", "automatic")
    page.wait_for_function("!document.getElementById('caption').textContent.includes('1800')")
    assert grays(page) == as_shown(ct, "auto")
    assert len(asked) == 1


def test_a_drag_over_the_grey_values_uploads_nothing(opened, ct):
    page = opened()
    asked = uploads(page)
    choose(page, ct, "ct.dcm")
    page.click("#tool-window")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 140, steps=20)
    page.mouse.up()
    page.wait_for_function(SETTLED)
    window = Window(**{name: float(page.input_value(f"#{name}")) for name in ("center", "width")})
    assert grays(page) == as_shown(ct, window)
    assert len(asked) == 1


@pytest.fixture
def stack() -> bytes:
    """Three 16-bit pages of 48 x 40, the values of each 1,000 above those of the one before."""
    first = np.arange(48 * 40, dtype=np.uint16).reshape(40, 48)
    pages = [Image.fromarray(first + 1000 * page) for page in range(3)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    return buffer.getvalue()


def test_a_slice_is_uploaded_once_and_keeps_the_window(opened, stack):
    page = opened()
    asked = uploads(page)
    choose(page, stack, "stack.tif")
    page.wait_for_selector("#caption:has-text('slice 2 of 3')")
    page.fill("#width", "500")
    for number in (3, 2, 3):
        page.fill("#slice", str(number))
        page.wait_for_selector(f"#caption:has-text('slice {number} of 3')")
    page.wait_for_function(SETTLED)
    window = Window(center=float(page.input_value("#center")), width=500)
    assert grays(page) == as_shown(stack, window, 2)
    assert len(asked) == 2


def test_a_step_brings_its_slice_back(opened, stack):
    page = opened()
    choose(page, stack, "stack.tif")
    ask(page)
    page.fill("#slice", "3")
    page.wait_for_selector("#caption:has-text('slice 3 of 3')")
    assert page.locator("#boxes .box").count() == 0
    page.locator(".boxed").first.focus()
    page.wait_for_selector("#caption:has-text('slice 2 of 3')")
    assert page.locator(".box.lit span").all_inner_texts() == ["1"]


def test_a_large_picture_is_coarse_only_for_a_moment(opened):
    """1,100 x 1,000 pixels are windowed by every second one first; a question waits for all of them."""
    values = (np.arange(1000, dtype=np.uint16)[:, None] + np.arange(1100, dtype=np.uint16)) * 8
    data = encode_png(values)
    page = opened("large")
    choose(page, data)
    page.evaluate(WIDTHS)
    page.fill("#width", "5000")
    with page.expect_request("**/v1/chat/completions") as sent:
        page.click("#send")
    address = sent.value.post_data_json["messages"][0]["content"][1]["image_url"]["url"]
    center = float(page.input_value("#center"))
    assert gray_levels(address) == as_shown(data, Window(center=center, width=5000)) == grays(page)
    assert page.evaluate("window.widths") == [550, 1100]

"""The page at ``/`` in a real browser: no Ray."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.serve.browsing import DONE, LUNG, NODULE, Said, ask, choose, grays, in_pixels, rect


def test_real_model_reads_what_is_shown(opened, png, predictor):
    from medclm.serve.requests import Request

    page = opened("real")
    choose(page, png)
    assert grays(page) == list(Image.open(io.BytesIO(png)).convert("L").tobytes())
    card = ask(page)
    request = Request(Image.open(io.BytesIO(png)), "Is there a nodule?", max_new_tokens=12)
    (expected,) = predictor.predict([request])
    shown = card.locator(".answer").inner_text()
    assert shown == (expected.answer or "No answer was found in what the model wrote.")
    assert card.locator(".step .words").count() == len(expected.steps)
    assert "Research software, not a medical device." in card.inner_text()


def test_reasoning_streams_in(opened, png):
    page = opened()
    choose(page, png)
    Said.go.clear()
    page.fill("#question", "wait for it")
    page.click("#send")
    page.wait_for_selector(".turn[aria-busy] .step:has-text('There is a nodule.')")
    assert page.locator(".step").count() == 1
    assert page.locator("#live").inner_text().startswith("seed: There is a nodule.")
    assert page.locator("#stop").is_visible()
    Said.go.set()
    page.wait_for_selector(DONE)
    steps = page.locator(".step .words").all_inner_texts()
    assert steps == ["seed There is a nodule.", "organ It lies in the lung.", "view Frontal."]
    assert page.locator(".answer").inner_text() == "yes"
    assert page.locator(".percent").inner_text() == "81 %"
    assert page.locator("#live").inner_text() == "Answer: yes. Confidence 81 percent."


WATCH = """() => {
  const box = document.querySelector("#boxes .box");
  Object.assign(window, { step: document.activeElement, flickers: 0 });
  const look = () => (window.flickers += !box.isConnected || !box.classList.contains("lit"));
  new MutationObserver(look).observe(box.parentNode, { subtree: true, childList: true, attributes: true });
}"""
"""Remember the focused step, and count how often its box goes or goes dark."""


def test_a_step_has_its_box_while_the_rest_streams(opened, png):
    page = opened()
    choose(page, png)
    Said.go.clear()
    page.fill("#question", "wait for it")
    page.click("#send")
    page.wait_for_selector(".turn[aria-busy] .boxed")
    assert page.locator(".step .words").all_inner_texts() == ["seed There is a nodule."]
    screen = 48 / (rect(page, "#picture")[2] - rect(page, "#picture")[0])  # one pixel of the screen
    assert in_pixels(page, "#boxes .box") == pytest.approx(NODULE, abs=0.75 + screen)
    page.locator(".boxed").hover()
    assert page.locator(".box.lit span").all_inner_texts() == ["1"]
    page.mouse.move(2, 2)
    assert page.locator(".box.lit").count() == 0
    page.locator(".boxed").focus()
    page.evaluate(WATCH)
    Said.go.set()
    page.wait_for_selector(DONE)
    assert page.locator("#boxes .box").count() == 2
    assert page.locator(".box.lit span").all_inner_texts() == ["1"]
    assert page.locator(".box.dim span").all_inner_texts() == ["2"]
    assert page.evaluate("[document.activeElement === window.step, window.flickers]") == [True, 0]


def test_stop_frees_the_form(opened, png):
    page = opened()
    choose(page, png)
    Said.go.clear()
    page.fill("#question", "wait forever")
    page.click("#send")
    page.wait_for_selector(".turn[aria-busy] .step")
    page.click("#stop")
    page.wait_for_selector(f"{DONE}:has-text('Stopped.')")
    Said.go.set()
    assert page.locator("#send").is_visible()
    page.locator(".boxed").hover()  # what was said until then stays
    assert page.locator(".box.lit span").all_inner_texts() == ["1"]


def test_a_step_lights_its_box_at_any_zoom(opened, png):
    page = opened()
    choose(page, png)
    ask(page)
    step, nodule = page.locator(".boxed").first, "#boxes .box:nth-child(1)"
    scales = set()
    for zooms in (0, 3):
        for _ in range(zooms):
            page.click("#zoom-in")
        scales.add(page.locator("#zoom").inner_text())
        screen = 48 / (rect(page, "#picture")[2] - rect(page, "#picture")[0])  # one pixel of the screen
        assert in_pixels(page, nodule) == pytest.approx(NODULE, abs=0.75 + screen)  # the family's own rounding
        assert in_pixels(page, "#boxes .box:nth-child(2)") == pytest.approx(LUNG, abs=0.75 + screen)
        step.hover()
        assert page.locator(".box.lit span").all_inner_texts() == ["1"]
        page.mouse.move(2, 2)
        assert page.locator(".box.lit").count() == 0
        page.locator(".boxed").nth(1).focus()
        assert page.locator(".box.lit span").all_inner_texts() == ["2"]
        page.focus("#question")
    assert len(scales) == 2


def test_box_position_to_a_pixel_of_the_screen(opened, png, predictor):
    family = predictor.family
    (box,) = family.text_to_boxes(family.box_to_text(NODULE, (40, 48)), (40, 48))  # as the API answers: in whole steps
    page = opened()
    choose(page, png)
    ask(page)
    for _ in range(2):
        x1, y1, x2, _ = rect(page, "#picture")
        scale = (x2 - x1) / 48
        expected = [x1 + box[0] * scale, y1 + box[1] * scale, x1 + box[2] * scale, y1 + box[3] * scale]
        assert rect(page, "#boxes .box:nth-child(1)") == pytest.approx(expected, abs=1)
        page.click("#zoom-in")


def test_a_box_on_the_picture_points_at_its_step(opened, png):
    page = opened()
    choose(page, png)
    ask(page)
    x1, y1, x2, y2 = rect(page, "#boxes .box:nth-child(1)")
    page.mouse.move((x1 + x2) / 2, (y1 + y2) / 2)
    assert "There is a nodule." in page.locator(".boxed.hinted").inner_text()
    page.locator(".boxed").nth(1).click()
    page.mouse.move(2, 2)
    assert page.locator(".box.lit span").all_inner_texts() == ["2"]  # it stays lit
    page.keyboard.press("Escape")
    page.focus("#question")
    assert page.locator(".box.lit").count() == 0


def test_pan_and_zoom_by_mouse_and_keys(opened, png):
    page = opened()
    choose(page, png)
    box = page.locator("#stage").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    before = rect(page, "#picture")
    page.mouse.wheel(0, -600)
    page.wait_for_selector("#stage.zoomed")
    after = rect(page, "#picture")
    assert after[2] - after[0] > 2 * (before[2] - before[0])
    page.mouse.down()
    page.mouse.move(middle[0] + 50, middle[1] + 30)
    page.mouse.up()
    moved = rect(page, "#picture")
    assert (moved[0] - after[0], moved[1] - after[1]) == pytest.approx((50, 30), abs=1)
    page.focus("#stage")
    page.keyboard.press("ArrowLeft")
    assert rect(page, "#picture")[0] == pytest.approx(moved[0] + 40, abs=1)
    page.keyboard.press("0")
    assert rect(page, "#picture") == pytest.approx(before, abs=1)


def test_keyboard_alone(opened, png):
    page = opened()
    choose(page, png)  # the file dialog is the browser's own
    page.focus("#model")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "question":
            break
    page.keyboard.press("Control+A")
    page.keyboard.type("Where is it?")
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    assert page.evaluate("document.activeElement.id") == "question"  # the focus stays with the reader
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('boxed')"):
            break
    assert page.locator(".box.lit span").all_inner_texts() == ["1"]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    page.keyboard.press("Tab")
    assert page.locator(".box.lit span").all_inner_texts() == ["2"]


def test_both_views_of_one_question(opened, png):
    page = opened()
    choose(page, png)
    ask(page)
    page.click("text=Ask for the answer only")
    page.wait_for_selector(f"{DONE} >> nth=1")
    assert page.locator(".turn .mode").all_inner_texts() == ["answer only", "reasoned"]
    assert page.locator(".turn >> nth=0 >> .boxed").count() == 0
    assert page.locator("#boxes .box").count() == 0
    page.locator(".boxed").first.hover()  # the older card again, with its boxes
    assert page.locator("#boxes .box").count() == 2


def test_refusals_in_plain_words(opened, png):
    page = opened()
    page.click("#send")
    assert page.locator("#problem").inner_text() == "Choose a picture first."
    for data, words in [
        (b"no picture", "The server cannot read this file as a picture."),
        (bytes(250_000), "The file is too large for this server: it takes up to 196 KiB."),
        (bytes(3_000_000), "The file is too large for this server"),
    ]:
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": data})
        page.wait_for_selector(f"#problem:has-text('{words}')")
    choose(page, png)
    assert page.locator("#problem").inner_text() == ""
    page.fill("#question", "busy?")
    page.click("#send")
    page.wait_for_selector("#problem:has-text('The server is busy with other questions. Try again in 1 second.')")
    page.wait_for_selector("#problem button:has-text('Try again')")
    assert page.locator(".turn").count() == 0


def test_key(opened, png):
    page = opened("keyed")
    page.wait_for_selector("#problem:has-text('This server wants an API key.')")
    assert page.evaluate("document.activeElement.id") == "key"
    page.fill("#key", "wrong")
    page.click("#use-key")
    page.wait_for_selector("#problem:has-text('does not accept this API key')")
    page.fill("#key", "sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-row", state="hidden")
    choose(page, png)
    assert ask(page).locator(".answer").inner_text() == "yes"
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_phone(opened, png):
    page = opened(width=390, height=844, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    choose(page, png)
    ask(page, "A question without any blank: " + "x" * 80)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".boxed").first.tap()
    assert page.locator(".box.lit span").all_inner_texts() == ["1"]
    stage, notice = rect(page, "#stage"), rect(page, ".notice")
    assert stage[1] >= notice[3] - 1  # the picture stays in sight below the notice
    assert stage[3] < 500
    assert page.locator(".boxed").first.bounding_box()["height"] >= 36


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, ct, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(color_scheme=scheme)
    choose(page, ct, "ct.dcm")
    ask(page)
    results = axe.Axe().run(page)
    assert results.response["violations"] == [], results.generate_report()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "color-contrast" in {rule["id"] for rule in axe.Axe().run(page, options={}).response["passes"]}
    page.click("#theme")
    page.click("#theme")
    page.wait_for_selector(":root[data-theme=dark]")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == ground) == (scheme == "dark")

"""The page at ``/`` in a real browser, over the real API in this process: no Ray."""

from __future__ import annotations

import asyncio
import io
import shutil
import socket
import threading
from pathlib import Path

import pytest
from PIL import Image

from medclm.serve.api import Limits, make_api
from medclm.serve.backend import Reply
from medclm.serve.guards import ApiError
from medclm.serve.keys import hash_keys
from medclm.serve.requests import Prediction
from tests.serve.local import Local

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
LIMITS = Limits(name="tiny", max_new_tokens=12, max_upload_bytes=200_000, max_image_pixels=100_000)
NODULE, LUNG = (8.0, 10.0, 24.0, 30.0), (4.0, 5.0, 40.0, 35.0)
"""Boxes that :class:`Said` names, in pixels of the picture of 48 x 40."""
DONE = ".turn:not([aria-busy])"


class Said(Local):
    """Says what a trained model would, in the form of the tiny model's family, so that boxes are known. A question that
    begins with "wait" is held after its first line until ``go`` is set."""

    go = threading.Event()

    async def stream(self, call):
        from medclm.train.target import parse_answer

        size_hw, family = (call.request.image.height, call.request.image.width), self.predictor.family
        nodule, lung = (family.box_to_text(box, size_hw) for box in (NODULE, LUNG))
        lines = [f"seed: There is a nodule. {nodule}\n", f"organ: It lies in the lung. {lung}\n", "view: Frontal.\n"]
        pieces = ["Reasoning:\n", *lines] if call.request.mode == "reason" else []
        pieces += ["Answer:", " yes"]
        for place, piece in enumerate(pieces):
            if place == 2 and call.request.question.startswith("wait"):
                while not self.go.is_set():
                    await asyncio.sleep(0.02)
            if call.request.question.startswith("busy"):
                raise ApiError(429, "too many requests are waiting; try again", code="queue_full")
            yield piece
        parsed = parse_answer("".join(pieces), size_hw, family)
        yield Reply(Prediction("".join(pieces), parsed.answer, 0.81, parsed.steps, parsed.ok))


class Server:
    """An API on a loopback port of its own, on a thread of its own."""

    def __init__(self, app) -> None:
        import uvicorn

        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


@pytest.fixture(scope="module")
def servers(predictor):
    """Addresses: the real tiny model, the one with known boxes, and the latter with a key."""
    apps = {"real": (Local, ()), "said": (Said, ()), "keyed": (Said, hash_keys(["sesame"]))}
    started = {name: Server(make_api(kind(predictor), LIMITS, keys)) for name, (kind, keys) in apps.items()}
    yield {name: server.address for name, server in started.items()}
    for server in started.values():
        server.stop()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, servers):
    """A function that opens the page of a server. At the end nothing may have left the origin or failed in a script."""
    contexts, asked, faults = [], set(), []

    def show(name: str = "said", width: int = 1280, height: int = 860, **more):
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **more)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if "status of 4" not in m.text else None)
        page.goto(servers[name])
        contexts.append(context)
        return page

    yield show
    for context in contexts:
        context.close()
    outside = [url for url in asked if not url.startswith((*servers.values(), "data:"))]
    assert outside == []
    assert faults == []


@pytest.fixture(scope="module")
def ct() -> bytes:
    """A CT slice of 128 x 128."""
    from pydicom.data import get_testdata_file

    return Path(get_testdata_file("CT_small.dcm")).read_bytes()


def choose(page, data: bytes, name: str = "a.png") -> None:
    """Put a file in, and wait for its picture."""
    page.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": data})
    page.wait_for_selector(f"#caption:has-text('{name} ·')")


def ask(page, question: str = "Is there a nodule?"):
    """Ask, and wait for the whole answer; its card."""
    page.fill("#question", question)
    page.click("#send")
    page.wait_for_selector(f"{DONE}:has-text('{question}')")
    return page.locator(DONE).first


def rect(page, selector: str) -> tuple[float, ...]:
    """x1, y1, x2, y2 on the screen."""
    return tuple(
        page.eval_on_selector(
            selector, "e => (({left, top, right, bottom}) => [left, top, right, bottom])(e.getBoundingClientRect())"
        )
    )


def in_pixels(page, selector: str) -> tuple[float, ...]:
    """Where an element lies on the picture, in pixels of the picture, by what the browser laid out."""
    x1, y1, x2, _ = rect(page, "#picture")
    scale = (x2 - x1) / page.eval_on_selector("#picture", "image => image.naturalWidth")
    return tuple((value - origin) / scale for value, origin in zip(rect(page, selector), (x1, y1) * 2, strict=True))


def grays(page) -> list[int]:
    """The grey values of the picture on the stage."""
    import base64

    data = page.get_attribute("#picture", "src").partition(",")[2]
    return list(Image.open(io.BytesIO(base64.b64decode(data))).convert("L").tobytes())


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


def test_window_of_a_dicom(opened, ct):
    page = opened()
    choose(page, ct, "ct.dcm")
    automatic = grays(page)
    page.select_option("#preset", "bone")
    page.wait_for_selector("#caption:has-text('400 / 1800 bone')")
    assert grays(page) != automatic
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

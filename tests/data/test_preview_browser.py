"""The preview page in a real browser: nothing is fetched, boxes lie where they should, steps point at their boxes."""

from __future__ import annotations

import shutil

import pytest

from medclm.data.knowledge import knowledge_base
from medclm.data.preview import write_preview
from medclm.data.records import Prior, Record, Step
from tests.hand_dataset import SIDE, make_record, write_dataset

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

NODULE, LUNG = (80.0, 40.0, 100.0, 60.0), (64.0, 20.0, 120.0, 110.0)
"""Boxes of ``make_record(0, …, True)``: of its seed step and of its organ step."""
FACT = "finding.nodule.definition"


def full_record() -> Record:
    """A nodule on the left, with an earlier image, choices and a step that rests on a fact."""
    record, earlier = make_record(0, "train", True), make_record(2, "train", True)
    side = record.questions[3]
    steps = (*side.reasoning, Step(step="knowledge", text="Nodules are round.", facts=(FACT,)))
    prior = Prior(image_id="im02", uri="im02", days=42, image=earlier.image, findings=earlier.findings)
    question = side.model_copy(update={"reasoning": steps, "difficulty": 2})
    return record.model_copy(update={"prior": prior, "questions": (question,)})


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preview")
    labelled = make_record(4, "train", False).model_copy(update={"labels": ("mass",), "labels_absent": ("nodule",)})
    dataset = write_dataset(folder / "set", [full_record(), make_record(1, "test", True), labelled])
    return write_preview(dataset, folder / "preview.html")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, page_file):
    """A function that opens the page at a width; at the end nothing may have been fetched and no error logged."""
    pages, asked, faults = [], [], []

    def show(width: int = 1280, scheme: str = "light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(page_file.as_uri())
        pages.append(page)
        return page

    yield show
    for page in pages:
        page.close()
    assert faults == []
    assert asked
    assert {url for url in asked if not url.startswith("data:")} == {page_file.as_uri()}


def rects(page, selector: str) -> list[tuple[float, ...]]:
    """Boxes of the marks of the first figure that matches, in pixels of its picture, as the browser laid them out."""
    return page.eval_on_selector(
        selector,
        """figure => {
            const whole = figure.getBoundingClientRect(), scale = figure.viewBox.baseVal.width / whole.width;
            return [...figure.querySelectorAll('rect.mark')].map(mark => {
                const m = mark.getBoundingClientRect();
                return [m.left - whole.left, m.top - whole.top, m.right - whole.left, m.bottom - whole.top]
                    .map(value => value * scale);
            });
        }""",
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_boxes_lie_where_they_should(opened, width, scheme):
    page = opened(width, scheme)
    found = rects(page, "#im00 figure.now svg")
    shown = page.locator("#im00 figure.now svg").bounding_box()["width"]
    assert len(found) == 1
    assert found[0] == pytest.approx(NODULE, abs=SIDE / shown)  # one pixel of the screen
    evidence = rects(page, "#im00 details[open] svg")
    assert evidence[0] == pytest.approx(NODULE, abs=1)
    assert evidence[1] == pytest.approx(LUNG, abs=1)
    picture = page.eval_on_selector("#im00 figure.now image", "i => i.getBoundingClientRect().width")
    assert picture == pytest.approx(shown, abs=1)


def stroke_widths(page) -> list[str]:
    marks = page.locator("#im00 details[open] rect.mark")
    return [marks.nth(place).evaluate("mark => getComputedStyle(mark).strokeWidth") for place in range(marks.count())]


def test_pointing_at_a_step_shows_its_box(opened):
    page = opened()
    assert stroke_widths(page) == ["2px", "2px"]
    page.locator("#im00 details[open] li", has_text="It lies in the left lung.").hover()
    assert stroke_widths(page) == ["2px", "4px"]
    page.locator("#im00 details[open] li", has_text="There is a nodule").hover()
    assert stroke_widths(page) == ["4px", "2px"]
    page.mouse.move(0, 0)
    assert stroke_widths(page) == ["2px", "2px"]
    page.locator("#im00 details[open] li.boxed").nth(1).focus()  # by keyboard, or by a tap
    assert stroke_widths(page) == ["2px", "4px"]


def test_a_row_shows_prior_choices_facts_and_views(opened):
    page = opened()
    assert page.locator("#im00 figure.earlier figcaption").inner_text() == "42 days earlier: im02"
    assert rects(page, "#im00 figure.earlier svg")[0] == pytest.approx((80, 42, 100, 62), abs=1)
    assert page.locator("#im00 details[open] .choice").all_inner_texts() == ["left", "right"]
    assert page.locator("#im00 details[open] .choice.right").all_inner_texts() == ["left"]
    fact = page.locator("#im00 details[open] .fact")
    assert fact.inner_text() == f"{FACT} {knowledge_base().facts[FACT].source}"
    assert fact.get_attribute("title") == knowledge_base().facts[FACT].text
    tops = [view["y"] for view in map(lambda v: v.bounding_box(), page.locator("#im00 .views > div").all())]
    assert len(tops) == 3
    assert len(set(tops)) == 1  # side by side


def test_a_row_with_labels_only_has_no_boxes(opened):
    page = opened()
    assert rects(page, "#im04 figure.now svg") == []
    assert page.locator("#im04 .badge.warn").all_inner_texts() == ["mass"]
    assert "Known to be absent: nodule" in page.locator("#im04").inner_text()
    assert "No finding" not in page.locator("#im04").inner_text()


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_sticks_out_of_the_page(opened, width):
    page = opened(width)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    widest = page.eval_on_selector_all(
        "svg.figure:not(.views *), li, .choice", "all => Math.max(...all.map(f => f.getBoundingClientRect().right))"
    )
    assert widest <= width


def test_dark_mode_changes_the_paper(opened):
    def paper(page) -> list[int]:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(value) for value in color.removeprefix("rgb(").removesuffix(")").split(",")]

    assert min(paper(opened(scheme="light"))) > 200
    assert max(paper(opened(scheme="dark"))) < 60

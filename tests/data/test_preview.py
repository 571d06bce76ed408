import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from medclm.data.preview import main_question, row_context, training_views, write_preview
from medclm.data.records import Step
from medclm.errors import MedclmError, UsageError
from medclm.eval.pages import Mark, figure
from tests.hand_dataset import make_record, write_dataset


def pictures(html: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_page_shows_rows_with_and_without_findings(tmp_path):
    records = [make_record(n, "train", n < 8) for n in range(12)]
    page = write_preview(write_dataset(tmp_path, records), tmp_path / "preview.html", limit=6, seed=1)
    text = page.read_text()
    shown = re.findall(r'<section class="card" id="(\w+)"', text)
    assert len(shown) == len(set(shown)) == 6
    assert sum(int(name[2:]) < 8 for name in shown) == 4
    assert "There is a nodule in the" in text
    assert "No finding: the row teaches what normal looks like." in text
    assert "not a medical device" in text
    assert "<script" not in text
    assert 'href="http' not in text


def test_same_seed_same_page(tmp_path):
    folder = write_dataset(tmp_path, [make_record(n, "train", n < 8) for n in range(12)])
    one, two, other = (
        write_preview(folder, tmp_path / f"{n}.html", 3, seed).read_text() for n, seed in enumerate((1, 1, 2))
    )
    assert one == two != other


def test_every_reused_picture_is_in_the_page(tmp_path):
    folder = write_dataset(tmp_path, [make_record(n, "train", n < 2) for n in range(4)])
    text = write_preview(folder, tmp_path / "p.html").read_text()
    assert set(re.findall(r'<use href="#([^"]+)"', text)) <= set(re.findall(r'<image id="([^"]+)"', text))
    assert len(set(re.findall(r'<image id="([^"]+)"', text))) == 4


def test_views_draw_the_box_in_easy_only():
    record = make_record(0, "train", True)  # box (80, 40) to (100, 60)
    question = main_question(record)
    assert question.finding_ids == ("f0",)
    easy, medium, hard = training_views(record, question)
    (drawn,) = pictures(str(easy["figure"]))
    assert tuple(drawn[50, 79]) == (255, 48, 48)
    assert np.unique(drawn[50, 82:98]).tolist() == [220]
    assert pictures(str(medium["figure"])) == pictures(str(hard["figure"])) == []
    assert 'class="mark attention" x="80" y="40" width="20" height="20"' in medium["figure"]
    assert "mark attention" not in hard["figure"]
    assert hard["target"] == f"Answer: {question.answer}"
    assert easy["target"] == medium["target"]
    assert "[80 40 100 60]" in easy["target"]


def test_text_from_data_is_escaped(tmp_path):
    record = make_record(0, "train", True)
    question = record.questions[0].model_copy(update={"question": "<script>alert(1)</script>"})
    folder = write_dataset(tmp_path, [record.model_copy(update={"questions": (question,)})])
    assert "<script" not in write_preview(folder, tmp_path / "p.html").read_text()


def test_a_dataset_without_rows(tmp_path):
    with pytest.raises(UsageError, match="no rows"):
        write_preview(write_dataset(tmp_path, []), tmp_path / "p.html")


def test_a_shard_that_is_gone(tmp_path):
    folder = write_dataset(tmp_path / "set", [make_record(0, "train", True)])
    (tmp_path / "set" / "shards" / "shard-00000.parquet").unlink()
    with pytest.raises(MedclmError, match="a shard cannot be read"):
        write_preview(folder, tmp_path / "p.html")


def test_every_kind_of_row_is_shown(tmp_path):
    labelled = [make_record(n, "train", False).model_copy(update={"labels": ("mass",)}) for n in range(20, 26)]
    records = [make_record(n, "train", n < 10) for n in range(20)] + labelled
    text = write_preview(write_dataset(tmp_path, records), tmp_path / "p.html", limit=12, seed=3).read_text()
    shown = [int(name[2:]) for name in re.findall(r'<section class="card" id="(\w+)"', text)]
    assert [sum(n < 10 for n in shown), sum(10 <= n < 20 for n in shown), sum(n >= 20 for n in shown)] == [8, 2, 2]


def test_steps_point_at_their_boxes_and_facts():
    record = make_record(0, "train", True)  # steps: seed with a box, view without, organ with another box
    question = record.questions[0]
    known, unknown = "finding.nodule.definition", "finding.zorp"
    last = Step(step="conclusion", text="Yes.", box_xyxy=question.reasoning[0].box_xyxy, facts=(known, unknown))
    steps = row_context(
        record.model_copy(
            update={"questions": (question.model_copy(update={"reasoning": (*question.reasoning, last)}),)}
        )
    )["questions"][0]["steps"]
    assert [step["place"] for step in steps] == [0, None, 1, 0]
    assert [fact["id"] for fact in steps[3]["facts"]] == [known, unknown]
    assert steps[3]["facts"][0]["source"]
    assert steps[3]["facts"][1] == {"id": unknown, "text": "", "source": ""}


def test_labels_of_boxes_that_begin_side_by_side_lie_on_lines_of_their_own():
    marks = [Mark((20, top, 60, 70), "reference", "effusion") for top in (30, 31, 32)]
    svg = str(figure(np.zeros((100, 100), np.uint8), [*marks, Mark((80, 31, 99, 70), "reference", "mass")]))
    lines = [float(y) for y in re.findall(r'<text[^>]* y="([\d.]+)"', svg)]
    assert lines[:3] == [29, 34, 24], "where it belongs, else the nearest line that is free"
    assert lines[3] == 30, "beside the others"

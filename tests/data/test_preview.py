import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from medclm.data.preview import main_question, training_views, write_preview
from medclm.errors import UsageError
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

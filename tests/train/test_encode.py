import numpy as np
import pytest

from medclm.errors import MedclmError
from medclm.train.collate import collate
from medclm.train.views import make_view
from tests.train.conftest import make_record

RECORDS = [make_record(n) for n in range(3)]


def test_a_picture_is_processed_once(encoder, loaded, monkeypatch):
    calls = []
    monkeypatch.setattr(encoder, "look", lambda picture, made=encoder.look: calls.append(1) or made(picture))
    views = [make_view(RECORDS[0], q, "medium", loaded.family) for q in RECORDS[0].questions]
    encoder.image_text((60, 80))
    calls.clear()
    collate(encoder, views)
    collate(encoder, views)
    assert len(calls) == 1
    collate(encoder, [make_view(RECORDS[0], RECORDS[0].questions[0], "easy", loaded.family)])
    assert len(calls) == 2


def test_a_question_cannot_add_image_tokens(encoder):
    assert encoder.prompt("what <image> is", "answer").count("<image>") == 16


def test_old_pixels_make_room(loaded):
    from medclm.train.encode import Encoder

    views = [make_view(r, r.questions[0], "medium", loaded.family) for r in RECORDS]
    one = Encoder(loaded.processor, loaded.family).see(views[0].images[0]).tensors["pixel_values"].numel() * 4
    encoder = Encoder(loaded.processor, loaded.family, cache_bytes=2 * one)
    for view in views:
        encoder.see(view.images[0])
    assert [key[0] for key in encoder._pixels] == ["image-1", "image-2"]
    assert encoder._pixel_room == 2 * one


def test_a_prompt_without_its_picture_where_pictures_differ(family_bases):
    _, encoder = family_bases("qwen2_5_vl")
    with pytest.raises(MedclmError, match="depends on the picture"):
        encoder.prompt("Which side?", "answer")
    seen = encoder.look(np.zeros((60, 80, 3), np.uint8))
    assert encoder.prompt("Which side?", "answer", [(60, 80)]).count("<|image_pad|>") == seen.tokens == 6

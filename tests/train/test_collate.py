import numpy as np
import PIL.Image
import pytest
import torch

from medclm.data.records import Prior
from medclm.train.collate import FORCED, collate, prompts
from medclm.train.views import REASONING, make_view, pixels
from tests.train.conftest import make_record

RECORDS = [make_record(n) for n in range(3)]


def by_processor(loaded, example):
    """Text and pixels of one example as the processor makes them of a whole conversation."""
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": example.question}]},
        {"role": "assistant", "content": [{"type": "text", "text": example.target}]},
    ]
    text = loaded.processor.apply_chat_template(messages).rstrip()
    picture = PIL.Image.fromarray(pixels(example.image, example.drawn, loaded.family.frame_size))
    return loaded.processor(text=[text], images=[[picture]], return_tensors="pt")


def test_a_batch_is_what_the_processor_makes(loaded, encoder):
    stages = ("easy", "medium", "hard")
    views = [make_view(r, r.questions[0], s, loaded.family) for r, s in zip(RECORDS, stages, strict=True)]
    batch = collate(encoder, views)
    for n, view in enumerate(views):
        wanted = by_processor(loaded, view)
        length = wanted["input_ids"].shape[1]
        assert torch.equal(batch.inputs["input_ids"][n, :length], wanted["input_ids"][0])
        assert batch.attention_mask[n].sum() == length
        assert torch.equal(batch.inputs["pixel_values"][n], wanted["pixel_values"][0])


def test_targets_are_the_reasoning_and_the_answer(loaded, encoder):
    view = make_view(RECORDS[0], RECORDS[0].questions[0], "medium", loaded.family)
    hard = make_view(RECORDS[1], RECORDS[1].questions[1], "hard", loaded.family)
    batch = collate(encoder, [view, hard])

    def text(example, answer):
        return loaded.processor.tokenizer.decode(batch.targets[(batch.owner == example) & (batch.is_answer == answer)])

    assert text(0, False) == view.target[len(REASONING) : view.reasoning_span[1]]
    assert text(0, True) == f" {view.answer}<end_of_utterance>"
    assert (text(1, False), text(1, True)) == ("", " yes<end_of_utterance>")
    # the position before each target token is the one whose logits are kept
    for n in range(2):
        places = batch.keep[n].nonzero()[:, 0] + 1
        assert torch.equal(batch.inputs["input_ids"][n, places], batch.targets[batch.owner == n])


def test_attention_targets(loaded, encoder):
    views = [make_view(RECORDS[n], RECORDS[n].questions[n], "medium", loaded.family) for n in (0, 2)]
    target = collate(encoder, views, (1,)).localize
    assert target.examples.tolist() == [0]  # the second has no reasoning
    assert target.image_index.shape == (1, 16)
    assert target.weights[:, 0].shape == (1, 16)
    assert target.weights.max() == 1
    assert collate(encoder, views[1:], (1,)).localize is None


def test_the_rows_of_a_line_have_its_place(loaded, encoder):
    record = RECORDS[0]
    other = (0.0, 0.0, 10.0, 15.0)  # the upper left patch of the 4 x 4 grid over 80 x 60 pixels, half of it
    seed, view, _ = record.questions[0].reasoning
    reasoning = (seed, seed.model_copy(update={"box_xyxy": other}), view)
    question = record.questions[0].model_copy(update={"reasoning": reasoning})
    example = make_view(record, question, "medium", loaded.family)
    batch = collate(encoder, [example, make_view(record, record.questions[0], "medium", loaded.family)], (1,))
    target = batch.localize
    # the first line's box is the question's: place 0; only the second has a place of its own
    assert target.weights.shape == (2, 2, 16)
    assert target.weights[0, 1].tolist() == [1.0] + [0.0] * 15
    assert target.weights[1, 1].sum() == 0
    own = batch.targets[batch.owner == 0]
    places = target.places[0, : len(own)]
    second = loaded.processor.tokenizer.decode(own[places == 1])
    assert second.strip() == example.target.split("\n")[2]
    assert target.places[1].sum() == 0


def test_a_padded_batch_gives_the_losses_of_its_examples_alone(loaded, encoder):
    from medclm.train.losses import Weights, counts, loss_of

    views = [make_view(r, r.questions[n], "medium", loaded.family) for n, r in enumerate(RECORDS)]
    with torch.no_grad():
        batch = collate(encoder, views)
        _, together = loss_of(loaded.model, batch, counts([batch]), Weights())
        for n, view in enumerate(views):
            single = collate(encoder, [view])
            _, alone = loss_of(loaded.model, single, counts([single]), Weights())
            assert torch.allclose(together["ce"][batch.owner == n], alone["ce"], atol=1e-5)


def test_prompts_are_the_beginning_of_the_training_text(loaded, encoder):
    view = make_view(RECORDS[0], RECORDS[0].questions[0], "medium", loaded.family)
    hard = make_view(RECORDS[0], RECORDS[0].questions[0], "hard", loaded.family)
    for example, mode in ((view, "reason"), (hard, "answer")):
        picture = pixels(example.image)
        found = prompts(encoder, [picture], [example.question], mode)
        ids, roles, _ = encoder.text(example)
        length = found["input_ids"].shape[1]
        assert found["input_ids"][0].tolist() == ids[:length]
        assert roles[length - 1] == 0
        assert roles[length] > 0
        assert torch.equal(found["pixel_values"], collate(encoder, [example]).inputs["pixel_values"])


def test_prompts_are_padded_on_the_left(encoder):
    picture = np.zeros((20, 20, 3), np.uint8)
    found = prompts(encoder, [picture, picture], ["Side?", "Which side is it on, then?"], "answer")
    assert found["attention_mask"][0, 0] == 0
    assert found["attention_mask"][:, -1].tolist() == [1, 1]
    assert encoder.tokenizer.decode(found["input_ids"][0]).endswith(FORCED["answer"])


def asked_of_two(number=0):
    """A record with an earlier picture of another shape, and a question about both."""
    record, before = make_record(number), make_record(number + 1)
    found = before.findings[0].model_copy(update={"label": "nodule", "box_xyxy": (0.0, 0.0, 40.0, 30.0)})
    prior = Prior(image_id=before.image_id, uri="earlier.png", image=before.image, findings=(found,))
    question = record.questions[0].model_copy(
        update={"id": "change", "type": "follow-up", "question": "How has the nodule changed?", "answer": "larger"}
    )
    return record.model_copy(update={"prior": prior, "questions": (*record.questions, question)}), question


@pytest.mark.parametrize(
    "name", ["smolvlm", "llava-clip", "llava_onevision", "qwen2_5_vl", "internvl", "gemma3", "paligemma"]
)
def test_two_pictures_are_shown_in_order_and_each_gets_its_own_boxes(family_bases, name):
    loaded, encoder = family_bases(name)
    record, question = asked_of_two()
    two = make_view(record, question, "medium", loaded.family)
    one = make_view(record, record.questions[0], "medium", loaded.family)
    batch = collate(encoder, [one, two], (1,))
    frame = loaded.family.frame_of((60, 80))
    rows, columns = frame.grid_hw
    target = batch.localize
    assert target.image_mask.sum(1).tolist() == [rows * columns, 2 * rows * columns]
    earlier, now = target.weights[1, 0].reshape(2, rows, columns)
    assert torch.equal(now.flatten(), target.weights[0, 0][: rows * columns])
    # the earlier box is the picture's upper left quarter
    assert earlier[0, 0] == 1
    assert earlier[rows - 1].sum() == earlier[:, columns - 1].sum() == 0
    with torch.no_grad():
        loaded.model(**batch.inputs, use_cache=False)
        pictures = [pixels(shown.image) for shown in two.images]
        prompt = prompts(encoder, [pictures, pictures[-1]], [question.question, "Which side?"], "reason")
        out = loaded.model.generate(**prompt, max_new_tokens=2, do_sample=False)
    length = int(prompt["attention_mask"][0].sum())
    assert prompt["input_ids"][0, -length:].tolist() == encoder.text(two)[0][:length]
    assert out.shape[0] == 2


def test_only_the_box_s_own_picture_is_looked_at(family_bases):
    loaded, encoder = family_bases("qwen2_5_vl")
    record, question = asked_of_two()
    bare = record.model_copy(update={"prior": record.prior.model_copy(update={"findings": ()})})
    batch = collate(encoder, [make_view(bare, question, "medium", loaded.family)], (1,))
    rows, columns = loaded.family.frame_of((60, 80)).grid_hw
    images = (batch.inputs["input_ids"][0] == encoder.image_token_id).nonzero()[:, 0]
    assert torch.equal(batch.localize.image_index[0], images[rows * columns :])

import numpy as np
import PIL.Image
import torch

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
    assert target.weights.shape == (1, 16)
    assert target.weights.max() == 1
    assert collate(encoder, views[1:], (1,)).localize is None


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


def test_a_picture_is_processed_once(encoder, loaded, monkeypatch):
    calls = []
    monkeypatch.setattr(encoder, "look", lambda picture, made=encoder.look: calls.append(1) or made(picture))
    views = [make_view(RECORDS[0], q, "medium", loaded.family) for q in RECORDS[0].questions]
    collate(encoder, views)
    collate(encoder, views)
    assert len(calls) == 1
    collate(encoder, [make_view(RECORDS[0], RECORDS[0].questions[0], "easy", loaded.family)])
    assert len(calls) == 2


def test_prompts_are_the_beginning_of_the_training_text(loaded, encoder):
    view = make_view(RECORDS[0], RECORDS[0].questions[0], "medium", loaded.family)
    hard = make_view(RECORDS[0], RECORDS[0].questions[0], "hard", loaded.family)
    for example, mode in ((view, "reason"), (hard, "answer")):
        picture = pixels(example.image)
        found = prompts(encoder, [picture], [example.question], mode)
        ids, roles = encoder.text(example)
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


def test_a_question_cannot_add_image_tokens(encoder):
    assert encoder.prompt("what <image> is", "answer").count("<image>") == 16

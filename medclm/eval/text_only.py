"""The question with no picture at all: what the words alone give away."""

from __future__ import annotations

from collections.abc import Sequence

from medclm.serve.predictor import Prediction, Predictor


def text_prompt(predictor: Predictor, question: str, mode: str) -> str:
    """The chat of a question without a picture; the assistant's turn is begun as in :meth:`Predictor.predict`."""
    from medclm.train.chat import render
    from medclm.train.collate import FORCED

    for token in predictor.tokenizer.all_special_tokens:
        question = question.replace(token, " ")
    template = render(predictor.processor, predictor.family, 0)
    return template.pieces[0] + question + template.middle + FORCED[mode]


def answer_text_only(
    predictor: Predictor, questions: Sequence[str], mode: str, max_new_tokens: int
) -> list[Prediction]:
    """Greedy answers of one batch, in order. Boxes and confidence are left out: there is no picture to point at."""
    import torch
    from transformers import GenerationConfig

    from medclm.train.collate import FORCED
    from medclm.train.views import parse_answer

    tokenizer, model = predictor.tokenizer, predictor.model
    texts = [text_prompt(predictor, question, mode) for question in questions]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    ids, mask = inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
    eos = model.generation_config.eos_token_id
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        repetition_penalty=1.0,
        eos_token_id=tokenizer.eos_token_id if eos is None else eos,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.inference_mode():
        more = predictor.encoder.more_inputs(ids, mask.bool())
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **more)
    found = []
    for text in tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True):
        parsed = parse_answer(FORCED[mode] + text, (1, 1), predictor.family)
        steps = tuple(step.model_copy(update={"box_xyxy": None}) for step in parsed.steps)
        found.append(Prediction(FORCED[mode] + text, parsed.answer, 0.0, steps, parsed.ok))
    return found

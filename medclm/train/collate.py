"""Examples to tensors, exactly as the processor would make them, without running it for every example.

An :class:`Encoder` renders the chat template once, keeps the processed pixels of each (picture, drawn boxes) and the
token ids of each (question, target). The same encoder makes the prompts of inference, so both sides agree.

Shapes: B examples, L tokens (padded on the right), T target tokens of the batch, in reading order.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from medclm.data.records import BoxXyxy, Image
from medclm.errors import MedclmError
from medclm.train.localize import Target, patch_weights
from medclm.train.views import ANSWER, REASONING, Example, pixels

if TYPE_CHECKING:
    import numpy as np
    import torch

    from medclm.train.families import Family

Mode = Literal["reason", "answer"]
FORCED: dict[str, str] = {"reason": REASONING, "answer": ANSWER}
"""What the assistant's turn starts with at inference."""
_QUESTION, _TARGET = "\u2060question\u2060", "\u2060target\u2060"
_NONE, _REASONING, _ANSWER = 0, 1, 2


@dataclass
class Batch:
    """One batch on its device.

    Attributes:
        inputs: what the model takes: input_ids (B, L) int64 and the image tensors.
        attention_mask: (B, L) int64, 0 at padding. A causal model does not need it: padding is on the right.
        keep: (B, L) bool, positions whose logits predict a target token.
        targets: (T,) int64. is_answer: (T,) bool, False for reasoning.
        owner: (T,) int64, the example of each target token.
        localize: the attention target, or None where no example has a box.
        examples: what the batch was made of.
    """

    inputs: dict[str, torch.Tensor]
    attention_mask: torch.Tensor
    keep: torch.Tensor
    targets: torch.Tensor
    is_answer: torch.Tensor
    owner: torch.Tensor
    localize: Target | None
    examples: list[Example]

    def to(self, device: Any) -> Batch:
        for name in ("attention_mask", "keep", "targets", "is_answer", "owner"):
            setattr(self, name, getattr(self, name).to(device))
        self.inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        if self.localize is not None:
            for name in ("examples", "rows", "row_mask", "image_index", "weights"):
                setattr(self.localize, name, getattr(self.localize, name).to(device))
        return self


class Encoder:
    """Turns text and pictures into what the model takes, as ``processor`` does.

    Args:
        processor: prepared by :func:`medclm.train.families.bind`.
        family: bound family.
        grid_hw: (rows, columns) of image tokens.
        cache_bytes: room for processed pixels and token ids.
    """

    def __init__(self, processor: Any, family: Family, grid_hw: tuple[int, int], cache_bytes: int = 1 << 29) -> None:
        self.processor, self.tokenizer, self.family, self.grid_hw = processor, processor.tokenizer, family, grid_hw
        self.image_token_id = processor.image_token_id
        self.before, self.middle, self.after = self._template()
        self._pixels: OrderedDict[tuple, dict[str, torch.Tensor]] = OrderedDict()
        self._texts: OrderedDict[tuple[str, str], tuple[list[int], list[int]]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._pixel_room = 0

    def _template(self) -> tuple[str, str, str]:
        user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": _QUESTION}]}
        answer = {"role": "assistant", "content": [{"type": "text", "text": _TARGET}]}
        text = self.processor.apply_chat_template([user, answer])
        before, _, rest = text.partition(_QUESTION)
        middle, _, after = rest.partition(_TARGET)
        token = getattr(self.processor.image_token, "content", self.processor.image_token)
        if before.count(token) != 1:
            raise MedclmError("the chat template does not put the picture before the question", got=text)
        return before.replace(token, self.family.image_text(self.processor)), middle, after.strip()

    def prompt(self, question: str, mode: Mode = "reason") -> str:
        """The text that generation starts from, image tokens written out."""
        return self.before + self._plain(question) + self.middle + FORCED[mode]

    def _plain(self, text: str) -> str:
        """``text`` without the texts of special tokens: a question cannot add image tokens."""
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, " ")
        return text

    def text(self, example: Example) -> tuple[list[int], list[int]]:
        """(token ids, role of each: 0 prompt, 1 reasoning, 2 answer with the end of the turn)."""
        key = (example.question, example.target)
        if key not in self._texts:
            self._texts[key] = self._encode(example)
            if len(self._texts) > 100_000:
                self._texts.popitem(last=False)
        return self._texts[key]

    def _encode(self, example: Example) -> tuple[list[int], list[int]]:
        head = self.before + self._plain(example.question) + self.middle
        text = head + example.target + self.after
        tokens = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        reasoning = [len(head) + place for place in example.reasoning_span]
        answer = (len(head) + example.answer_span[0], len(text))
        roles = []
        for start, end in tokens["offset_mapping"]:
            middle = (start + end) / 2
            inside = _REASONING if reasoning[0] <= middle < reasoning[1] else _NONE
            roles.append(_ANSWER if answer[0] <= middle < answer[1] else inside)
        return tokens["input_ids"], roles

    def image(self, image: Image, drawn: tuple[BoxXyxy, ...], key: str) -> dict[str, torch.Tensor]:
        """The processor's tensors for one picture, kept for the next time. ``key`` names the picture."""
        place = (key, drawn)
        if place in self._pixels:
            self._pixels.move_to_end(place)
            return self._pixels[place]
        tensors = self.image_of(pixels(image, drawn, self.family.frame_size))
        self._pixels[place] = tensors
        self._pixel_room += _bytes(tensors)
        while self._pixel_room > self._cache_bytes and len(self._pixels) > 1:
            self._pixel_room -= _bytes(self._pixels.popitem(last=False)[1])
        return tensors

    def image_of(self, picture: np.ndarray) -> dict[str, torch.Tensor]:
        """The processor's tensors for (H, W, 3) uint8; a mask that hides nothing is left out."""
        import PIL.Image

        found = self.processor.image_processor([[PIL.Image.fromarray(picture)]], return_tensors="pt")
        mask = found.get("pixel_attention_mask")
        names = ["pixel_values"] if mask is None or bool(mask.all()) else ["pixel_values", "pixel_attention_mask"]
        return {name: found[name] for name in names}


def _bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def collate(encoder: Encoder, examples: list[Example], layers: tuple[int, ...] = (), heads: tuple[int, ...] = (),
            form: str = "mass") -> Batch:  # fmt: skip
    """One training batch.

    Args:
        layers, heads, form: of the attention target, see :class:`medclm.train.localize.Target`.
    """
    import torch

    texts = [encoder.text(example) for example in examples]
    ids, mask = _pad([text[0] for text in texts], encoder.tokenizer.pad_token_id, left=False)
    roles, _ = _pad([text[1] for text in texts], _NONE, left=False)
    pictures = [encoder.image(example.image, example.drawn, example.image_id) for example in examples]
    chosen = roles[:, 1:] > 0
    keep = torch.zeros_like(mask, dtype=torch.bool)
    keep[:, :-1] = chosen
    return Batch(
        inputs={"input_ids": ids, **{name: torch.cat([p[name] for p in pictures]) for name in pictures[0]}},
        attention_mask=mask,
        keep=keep,
        targets=ids[:, 1:][chosen],
        is_answer=roles[:, 1:][chosen] == _ANSWER,
        owner=chosen.nonzero()[:, 0],
        localize=_localize(encoder, examples, ids, keep, layers, heads, form) if layers else None,
        examples=examples,
    )


def _localize(
    encoder: Encoder,
    examples: list[Example],
    ids: torch.Tensor,
    keep: torch.Tensor,
    layers: tuple[int, ...],
    heads: tuple[int, ...],
    form: str,
) -> Target | None:
    import torch

    chosen = [n for n, example in enumerate(examples) if example.loc_boxes]
    if not chosen:
        return None
    rows, row_mask = _pad([keep[n].nonzero()[:, 0].tolist() for n in chosen], 0, left=False)
    boxes = [(e.loc_boxes, (e.image.height, e.image.width)) for e in (examples[n] for n in chosen)]
    return Target(
        examples=torch.tensor(chosen),
        rows=rows,
        row_mask=row_mask.bool(),
        image_index=torch.stack([(ids[n] == encoder.image_token_id).nonzero()[:, 0] for n in chosen]),
        weights=torch.stack([patch_weights(found, size_hw, encoder.grid_hw) for found, size_hw in boxes]),
        layers=layers,
        heads=heads,
        form=form,
    )


def prompts(encoder: Encoder, pictures: list[np.ndarray], questions: list[str], mode: Mode) -> dict[str, torch.Tensor]:
    """What ``model.generate`` takes: padded on the left, the assistant's turn begun with :data:`FORCED`.

    Args:
        pictures: (H, W, 3) uint8 each.
    """
    import torch

    texts = [encoder.prompt(question, mode) for question in questions]
    rows = [encoder.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    ids, mask = _pad(rows, encoder.tokenizer.pad_token_id, left=True)
    images = [encoder.image_of(picture) for picture in pictures]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        **{name: torch.cat([image[name] for image in images]) for name in images[0]},
    }


def _pad(rows: list[list[int]], value: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(len(row) for row in rows)
    out = torch.full((len(rows), width), value, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for n, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        out[n, place] = torch.tensor(row, dtype=torch.int64)
        mask[n, place] = 1
    return out, mask

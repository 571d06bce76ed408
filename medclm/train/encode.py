"""Text and pictures to what a model takes, exactly as its processor would, without running it for every example.

An :class:`Encoder` renders the chat template once, keeps the processed pixels of each (picture, drawn boxes) and the
token ids of each (question, target). The same encoder makes the prompts of inference, so both sides agree.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medclm.errors import MedclmError
from medclm.train.chat import Template, render
from medclm.train.target import ANSWER, REASONING
from medclm.train.views import Example, Shown, pixels

if TYPE_CHECKING:
    import torch

    from medclm.train.families import Family, Frame

Mode = Literal["reason", "answer"]
FORCED: dict[str, str] = {"reason": REASONING, "answer": ANSWER}
"""What the assistant's turn starts with at inference."""
NONE, IN_REASONING, IN_ANSWER = 0, 1, 2
"""The role of a token: prompt or padding, learnt as reasoning, learnt as answer."""


@dataclass(frozen=True)
class Seen:
    """One processed picture.

    Attributes:
        tensors: what the model takes, a leading dimension that pictures are joined along.
        text: what stands for it in the prompt, image tokens written out.
        frame: its size and its grid of image tokens.
        tokens: how many image tokens ``text`` has.
    """

    tensors: dict[str, torch.Tensor]
    text: str
    frame: Frame
    tokens: int


class Encoder:
    """Turns text and pictures into what the model takes, as ``processor`` does.

    Args:
        processor: prepared by :func:`medclm.train.families.bind`.
        family: bound to it.
        grid_hw: (rows, columns) of image tokens by the model's config, where it knows them: checked against the
            processor's.
        cache_bytes: room for processed pixels.

    Raises:
        MedclmError: processor and model disagree on the image tokens, or the chat template does not put the picture
            before the question.
    """

    def __init__(
        self, processor: Any, family: Family, grid_hw: tuple[int, int] | None = None, cache_bytes: int = 1 << 29
    ) -> None:
        self.processor, self.tokenizer, self.family = processor, processor.tokenizer, family
        self._image_token = family.image_token(processor)
        self.image_token_id = self.tokenizer.convert_tokens_to_ids(self._image_token)
        self._templates: dict[int, Template] = {}
        self._pixels: OrderedDict[tuple, Seen] = OrderedDict()
        self._texts: OrderedDict[tuple, tuple[list[int], list[int], list[int]]] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._pixel_room = 0
        self._image_texts: dict[tuple[int, int], str] = {}
        self.template(1)
        if grid_hw is not None and grid_hw != self.grid_hw:
            raise MedclmError(
                "the processor makes other image tokens than the model expects",
                where="preprocessor_config.json and config.json of the base model",
                expected=f"{grid_hw[0]} x {grid_hw[1]} image tokens",
                got=" x ".join(map(str, self.grid_hw)),
                remedy="give the processor the picture size and patch size of the vision tower",
            )

    def _frame(self, size_hw: tuple[int, int]) -> Frame:
        if self.family.frame_of is None:
            raise MedclmError("the family is not bound to a processor", got=self.family.name, remedy="call bind first")
        return self.family.frame_of(size_hw)

    def template(self, pictures: int) -> Template:
        """The conversation around ``pictures`` pictures, one question and one answer."""
        if pictures not in self._templates:
            self._templates[pictures] = render(self.processor, self.family, pictures)
        return self._templates[pictures]

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(rows, columns) of image tokens of a large square picture; of every picture where they do not differ."""
        return self._frame((1000, 1000)).grid_hw

    def prompt(self, question: str, mode: Mode = "reason", sizes_hw: Sequence[tuple[int, int]] = ()) -> str:
        """The text that generation starts from, image tokens written out.

        Args:
            sizes_hw: of the pictures, oldest first. May be left out for one picture where all pictures have the same
                image tokens.
        """
        return (
            self._head(question, [self.image_text(size_hw) for size_hw in sizes_hw or [self._any_size()]])
            + FORCED[mode]
        )

    def _any_size(self) -> tuple[int, int]:
        if self._frame((100, 100)).grid_hw != self._frame((100, 300)).grid_hw:
            raise MedclmError(
                "this family's prompt depends on the picture",
                got=self.family.name,
                remedy="give the size of the picture",
            )
        return 100, 100

    def image_text(self, size_hw: tuple[int, int]) -> str:
        """What stands for a picture of this size in the prompt. Each grid is asked of the processor once."""
        frame = self._frame(size_hw)
        if frame.grid_hw not in self._image_texts:
            self._image_texts[frame.grid_hw] = self.look(np.zeros((*frame.frame_hw, 3), np.uint8)).text
        return self._image_texts[frame.grid_hw]

    def _head(self, question: str, texts: list[str]) -> str:
        template = self.template(len(texts))
        woven = "".join(piece + text for piece, text in zip(template.pieces, texts, strict=False))
        return woven + template.pieces[-1] + self._plain(question) + template.middle

    def _plain(self, text: str) -> str:
        """``text`` without the texts of special tokens: a question cannot add image tokens."""
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, " ")
        return text

    def text(self, example: Example) -> tuple[list[int], list[int], list[int]]:
        """(token ids, role of each, line of each).

        Roles: 0 prompt, 1 reasoning, 2 answer with the end of the turn. Lines count from 0 through the target's
        reasoning; the answer has the number after the last, the prompt 0.
        """
        texts = [self.image_text((shown.image.height, shown.image.width)) for shown in example.images]
        key = (example.question, example.target, *texts)
        if key not in self._texts:
            self._texts[key] = self._encode(example, texts)
            if len(self._texts) > 100_000:
                self._texts.popitem(last=False)
        return self._texts[key]

    def _encode(self, example: Example, texts: list[str]) -> tuple[list[int], list[int], list[int]]:
        head = self._head(example.question, texts)
        text = head + example.target + self.template(len(texts)).after
        tokens = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        reasoning = [len(head) + place for place in example.reasoning_span]
        answer = (len(head) + example.answer_span[0], len(text))
        ends = [n for n in range(*reasoning) if text[n] == "\n"]
        roles, lines = [], []
        for start, end in tokens["offset_mapping"]:
            middle = (start + end) / 2
            inside = IN_REASONING if reasoning[0] <= middle < reasoning[1] else NONE
            roles.append(IN_ANSWER if answer[0] <= middle < answer[1] else inside)
            lines.append(bisect.bisect_left(ends, int(middle)))
        return tokens["input_ids"], roles, lines

    def see(self, shown: Shown) -> Seen:
        """One picture of an example with its boxes drawn, processed; kept for the next time."""
        place = (shown.image_id, shown.drawn)
        if place in self._pixels:
            self._pixels.move_to_end(place)
            return self._pixels[place]
        side = max(self.family.frame_hw((shown.image.height, shown.image.width)))
        seen = self.look(pixels(shown.image, shown.drawn, side))
        self._pixels[place] = seen
        self._pixel_room += _bytes(seen)
        while self._pixel_room > self._cache_bytes and len(self._pixels) > 1:
            self._pixel_room -= _bytes(self._pixels.popitem(last=False)[1])
        return seen

    def look(self, picture: np.ndarray) -> Seen:
        """(H, W, 3) uint8, processed.

        Raises:
            MedclmError: the processor writes fewer image tokens than the grid has.
        """
        import PIL.Image

        found = self.family.process(self.processor, PIL.Image.fromarray(picture))
        text, frame = self.family.image_text(self.processor, found), self._frame(picture.shape[:2])
        seen = Seen(_wanted(found, self.family.tensors), text, frame, text.count(self._image_token))
        if seen.tokens < frame.skip + frame.grid_hw[0] * frame.grid_hw[1]:
            raise MedclmError(
                "the processor writes fewer image tokens than the picture has",
                expected=f"{frame.grid_hw[0]} x {frame.grid_hw[1]} after {frame.skip} others",
                got=seen.tokens,
                remedy="check the processor's patch size and picture size",
            )
        return seen

    def image_of(self, picture: np.ndarray) -> dict[str, torch.Tensor]:
        """The processor's tensors for (H, W, 3) uint8."""
        return self.look(picture).tensors

    def inputs(self, ids: torch.Tensor, prompt: torch.Tensor, seen: Sequence[Seen]) -> dict[str, torch.Tensor]:
        """What the model takes: input_ids (B, L), the pictures of all rows in order, and what the family adds.

        Args:
            ids: (B, L) int64.
            prompt: (B, L) bool, True up to the first token that is learnt.
            seen: the pictures, row by row.
        """
        import torch

        joined = {name: torch.cat([picture.tensors[name] for picture in seen]) for name in seen[0].tensors}
        return {"input_ids": ids, **joined, **self.more_inputs(ids, prompt)}

    def more_inputs(self, ids: torch.Tensor, prompt: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the family's model takes beside ids, mask and pictures (kinds of tokens), (B, L) each; often nothing."""
        return self.family.more_inputs(ids == self.image_token_id, prompt)


def _wanted(found: Any, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The named tensors; a mask that hides nothing is left out."""
    return {
        name: found[name]
        for name in names
        if found.get(name) is not None and not (name == "pixel_attention_mask" and bool(found[name].all()))
    }


def _bytes(seen: Seen) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in seen.tensors.values())

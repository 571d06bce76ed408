"""A question about a picture on its way: as it was asked, as the model takes it, and what the model said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medclm.data.records import Step
from medclm.serve.decoding import Finish, Settings

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

Mode = Literal["reason", "answer"]


@dataclass(frozen=True)
class Request:
    """One question about one picture.

    Attributes:
        image: the picture as displayed, 8 bits, grey or RGB.
        question: the user's turn. Control tokens in it are taken out.
        mode: ``reason`` writes the reasoning before the answer, ``answer`` the answer only.
        max_new_tokens, temperature, seed, stop, top_p: see :class:`medclm.serve.decoding.Settings`.
        earlier: pictures that come before ``image`` in the turn. Boxes are in pixels of ``image``.
    """

    image: PIL.Image.Image
    question: str
    mode: Mode = "reason"
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_p: float = 1.0
    earlier: tuple[PIL.Image.Image, ...] = ()

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of ``image``, which boxes are in pixels of."""
        return self.image.height, self.image.width

    @property
    def settings(self) -> Settings:
        """How the text is generated."""
        return Settings(self.max_new_tokens, self.temperature, self.top_p, self.seed, self.stop)


@dataclass(frozen=True)
class Picture:
    """A picture as the model takes it: the processor's arrays, a content hash, and the size (height, width) it had."""

    arrays: dict[str, np.ndarray]
    key: bytes
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Prepared:
    """A request ready for the model: pictures in reading order, the last of which boxes refer to, and the prompt."""

    pictures: tuple[Picture, ...]
    ids: tuple[int, ...]
    mode: Mode
    settings: Settings


@dataclass(frozen=True)
class Prediction:
    """What the model said.

    Attributes:
        text: the whole assistant's turn, forced prefix included.
        answer: the text after the last ``Answer:``; empty where there is none.
        confidence: geometric mean of the probabilities of the answer's tokens, 0 to 1; 0 without an answer.
        steps: the reasoning, boxes in pixels of ``Request.image``.
        parsed: whether the text kept to the form that was trained.
        prompt_tokens, completion_tokens: lengths, image tokens included, padding not.
        finish: ``stop`` (the model or a stop text ended it) or ``length``.
        tokens: the generated tokens' texts and the logarithms of their probabilities, without the end token.
    """

    text: str
    answer: str
    confidence: float
    steps: tuple[Step, ...]
    parsed: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: Finish = "stop"
    tokens: tuple[tuple[str, float], ...] = ()

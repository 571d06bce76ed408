"""What happens to the rows of a batch while text is generated: which token is taken, and when a row ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

BROKEN = "�"
"""What a tokenizer writes for the first bytes of a character whose last bytes are still to come."""
Finish = Literal["stop", "length"]
Listener = Callable[[str], bool]
"""Gets each new piece of a request's text; returns False when nobody listens any more, which ends the request."""


@dataclass(frozen=True)
class Settings:
    """How one text is generated.

    Attributes:
        max_new_tokens: of the generated text; the forced prefix does not count.
        temperature: 0 takes the most probable token each time, higher values draw.
        top_p: draws only among the most probable tokens that together have this probability.
        seed: of the draw; None draws anew each time.
        stop: texts that end the generation; they are not part of the text.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Row:
    """One text that is being generated.

    Attributes:
        ids: the generated token ids, the end token included.
        log_probs: natural logarithms of their probabilities under the model, before any temperature.
        finish: ``stop`` (the model or a stop text ended it), ``length``, or None while it runs.
    """

    def __init__(
        self, tokenizer: Any, eos: Sequence[int], settings: Settings, listener: Listener | None = None
    ) -> None:
        self.tokenizer, self.eos, self.settings, self.listener = tokenizer, frozenset(eos), settings, listener
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.finish: Finish | None = None
        self._draw: torch.Generator | None = None
        self._sent = 0
        self._text = ""
        self._clean = 0
        self._read = 0

    @property
    def spoken(self) -> int:
        """How many tokens are text: all but a final end token."""
        return len(self.ids) - 1 if self.ids and self.ids[-1] in self.eos else len(self.ids)

    @property
    def text(self) -> str:
        """The text, up to its stop text."""
        text = self.decode(self.ids)
        return text[: min(_ends(text, self.settings.stop), default=len(text))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def uniform(self, size: int) -> torch.Tensor:
        """(size,) float32 of the row's own random numbers, strictly between 0 and 1."""
        import torch

        if self._draw is None:
            self._draw = torch.Generator()
            self._draw.seed() if self.settings.seed is None else self._draw.manual_seed(self.settings.seed)
        return torch.rand(size, generator=self._draw).clamp_(1e-20, 1 - 1e-7)

    def append(self, token: int, log_prob: float) -> None:
        """Take one more token; the row may end by it. The listener hears what is new."""
        self.ids.append(token)
        self.log_probs.append(log_prob)
        watched = self.listener is not None or bool(self.settings.stop)
        if watched:
            self._grow()
        if token in self.eos or (self.settings.stop and _ends(self._text, self.settings.stop)):
            self.finish = "stop"
        elif len(self.ids) >= self.settings.max_new_tokens:
            self.finish = "length"
        if self.listener is not None and not self._send(self.listener):
            self.finish, self.listener = "stop", None

    def after(self, mark: str) -> int:
        """How many tokens it takes until the last ``mark`` is written in full; all where it never is."""
        end = self.decode(self.ids).rfind(mark) + len(mark)
        if end < len(mark):
            return len(self.ids)
        low, high = 0, len(self.ids)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if len(self.decode(self.ids[:middle])) >= end else (middle + 1, high)
        return low

    def _grow(self) -> None:
        """Add the newest token's text: what decoding from the last clean point says beyond what it said before."""
        before = self.decode(self.ids[self._clean : self._read])
        now = self.decode(self.ids[self._clean :])
        if len(now) > len(before) and not now.endswith(BROKEN):
            self._text += now[len(before) :]
            self._clean, self._read = self._read, len(self.ids)

    def _send(self, listener: Listener) -> bool:
        """Give the listener what is new, short of what may become a stop text."""
        if self.finish is not None:
            text = self.text
        else:
            text = self._text[: len(self._text) - _held(self._text, self.settings.stop)]
        new = text[self._sent :]
        self._sent += len(new)
        return listener(new)


def choose(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Take the next token of each row that still runs.

    Args:
        logits: (B, V), any float type.
        rows: B of them.

    Returns:
        (B,) int64, the tokens taken.

    A row with a temperature adds Gumbel noise to its scaled log-probabilities, so that the largest one is a draw from
    the softmax (the Gumbel-max trick); rows of one batch therefore draw independently of each other.
    """
    log_probs = logits.float().log_softmax(dim=-1)
    taken = log_probs.argmax(dim=-1)
    for index, row in enumerate(rows):
        if row.settings.temperature > 0 and row.finish is None:
            noise = -(-row.uniform(log_probs.shape[-1]).log()).log()
            scaled = nucleus(log_probs[index] / row.settings.temperature, row.settings.top_p)
            taken[index] = (scaled + noise.to(scaled.device)).argmax()
    values = log_probs.gather(1, taken[:, None])[:, 0].tolist()
    for row, token, value in zip(rows, taken.tolist(), values, strict=True):
        if row.finish is None:
            row.append(token, value)
    return taken


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """(V,) scores, minus infinity outside the smallest set of likeliest tokens whose probability reaches ``top_p``.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration, arXiv 1904.09751, section 3.1.
    """
    if top_p >= 1:
        return scores
    ordered, order = scores.softmax(dim=-1).sort(descending=True)
    outside = order[ordered.cumsum(dim=-1) - ordered >= top_p]
    return scores.index_fill(0, outside, float("-inf"))


def _ends(text: str, stops: Sequence[str]) -> list[int]:
    """Where each stop text that occurs begins."""
    return [position for position in map(text.find, stops) if position >= 0]


def _held(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of ``text`` that begins a stop text."""
    lengths = [n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])]
    return max(lengths, default=0)

"""What happens to the rows of a batch while it is generated: which token is taken, and when a row ends.

:meth:`Decoding.choose` is a logits processor and :meth:`Decoding.finished` a stopping criterion of Hugging Face
``generate``. Each row has its own temperature, seed, limit and stop texts; a row that ended no longer changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from medclm.serve.predictor import Listener, Request

BROKEN = "�"
"""What a tokenizer writes for the first bytes of a character whose last bytes are still to come."""


class Decoding:
    """The state of a batch of B rows.

    Attributes:
        ids: for each row the generated token ids, the end token included.
        log_probs: natural logarithms of their probabilities under the model, before any temperature.
        finish: ``stop``, ``length`` or None for a row that still runs.
    """

    def __init__(
        self, tokenizer: Any, eos: tuple[int, ...], requests: Sequence[Request], listeners: Sequence[Listener | None]
    ) -> None:
        import torch

        self.tokenizer, self.eos, self.requests, self.listeners = tokenizer, eos, requests, list(listeners)
        self.ids: list[list[int]] = [[] for _ in requests]
        self.log_probs: list[list[float]] = [[] for _ in requests]
        self.finish: list[Literal["stop", "length"] | None] = [None] * len(requests)
        self._sent = [""] * len(requests)
        self._draws = [torch.Generator() for _ in requests]
        for draw, request in zip(self._draws, requests, strict=True):
            if request.seed is None:
                draw.seed()
            else:
                draw.manual_seed(request.seed)

    def choose(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take the next token of each row: logits (B, V) in, logits out that leave only the taken token.

        A row with a temperature adds Gumbel noise to its scaled log-probabilities, so that the largest one is a draw
        from the softmax (the Gumbel-max trick); rows of one batch therefore draw independently of each other.
        """
        import torch

        log_probs = scores.float().log_softmax(dim=-1)
        taken = log_probs.argmax(dim=-1)
        for row, request in enumerate(self.requests):
            if request.temperature > 0 and self.finish[row] is None:
                uniform = torch.rand(log_probs.shape[-1], generator=self._draws[row]).clamp_(1e-20, 1 - 1e-7)
                noise = -(-uniform.log()).log()
                taken[row] = (log_probs[row] / request.temperature + noise.to(log_probs.device)).argmax()
        values = log_probs.gather(1, taken[:, None])[:, 0].tolist()
        for row, (token, value) in enumerate(zip(taken.tolist(), values, strict=True)):
            if self.finish[row] is None:
                self._append(row, token, value)
        return torch.full_like(scores, -torch.inf).scatter_(1, taken[:, None], 0.0)

    def finished(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """(B,) bool: the rows that have ended."""
        import torch

        return torch.tensor([end is not None for end in self.finish], device=input_ids.device)

    def spoken(self, row: int) -> int:
        """How many tokens of the row are text: all but a final end token."""
        ids = self.ids[row]
        return len(ids) - 1 if ids and ids[-1] in self.eos else len(ids)

    def text(self, row: int) -> str:
        """The row's text so far, up to its stop text."""
        text = self._decode(self.ids[row])
        return text[: min(_ends(text, self.requests[row].stop), default=len(text))]

    def after(self, row: int, mark: str) -> int:
        """How many tokens of the row it takes until its last ``mark`` is written in full; all where it never is."""
        ids = self.ids[row]
        end = self._decode(ids).rfind(mark) + len(mark)
        if end < len(mark):
            return len(ids)
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if len(self._decode(ids[:middle])) >= end else (middle + 1, high)
        return low

    def _append(self, row: int, token: int, value: float) -> None:
        request = self.requests[row]
        self.ids[row].append(token)
        self.log_probs[row].append(value)
        if token in self.eos or (request.stop and _ends(self._decode(self.ids[row]), request.stop)):
            self.finish[row] = "stop"
        elif len(self.ids[row]) >= request.max_new_tokens:
            self.finish[row] = "length"
        listener = self.listeners[row]
        if listener is not None and not self._send(row, listener):
            self.finish[row], self.listeners[row] = "stop", None

    def _send(self, row: int, listener: Listener) -> bool:
        """Give the listener what is new, short of a broken character and of what may become a stop text."""
        text = self.text(row)
        if self.finish[row] is None:
            text = text.rstrip(BROKEN)
            text = text[: len(text) - _held(text, self.requests[row].stop)]
        new = text[len(self._sent[row]) :]
        self._sent[row] += new
        return listener(new)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _ends(text: str, stops: Sequence[str]) -> list[int]:
    """Where each stop text that occurs begins."""
    return [position for position in map(text.find, stops) if position >= 0]


def _held(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of ``text`` that begins a stop text."""
    lengths = [n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])]
    return max(lengths, default=0)

"""A local model that answers windows of asks. Plain class; :mod:`medclm.eval.pool` puts it into Ray actors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm.errors import MedclmError
from medclm.eval.asks import Ask, Window, batches
from medclm.eval.replies import Reply, broken

if TYPE_CHECKING:
    import PIL.Image

    from medclm.serve.predictor import Request


class Answerer:
    """Answers windows with a predictor.

    Args:
        model: an exported model directory, or anything with ``predict(list[Request])``; only a
            :class:`medclm.serve.predictor.Predictor` can be asked without a picture, and measured for attention.
        mode: "reason" or "answer".
        max_new_tokens: of an answer.
        batch_size: asks generated together.
        threads: CPU threads of a model that is loaded here; None leaves them as they are.
    """

    def __init__(
        self,
        model: Any,
        mode: str = "reason",
        max_new_tokens: int = 256,
        batch_size: int = 16,
        threads: int | None = None,
    ) -> None:
        from medclm.serve.predictor import Predictor

        self.predictor = Predictor(model, threads=threads) if isinstance(model, (str, Path)) else model
        self.mode, self.max_new_tokens, self.batch_size = mode, max_new_tokens, batch_size

    def answer(self, window: Window) -> list[Reply]:
        """One reply an ask, in order. A picture that cannot be shown makes its asks "broken-image"."""
        images: dict[str, PIL.Image.Image | str] = {"": ""}
        for picture in window.pictures:
            try:
                images[picture.name] = picture.open()
            except MedclmError as error:
                images[picture.name] = "; ".join(line.strip() for line in error.message().splitlines())
        replies: list[Reply | None] = [None] * len(window.asks)
        for places in batches(window, self.batch_size):
            asks = [window.asks[place] for place in places]
            for place, reply in zip(places, self._batch(asks, images), strict=True):
                replies[place] = reply
        return [reply for reply in replies if reply is not None]

    def _batch(self, asks: Sequence[Ask], images: dict[str, PIL.Image.Image | str]) -> list[Reply]:
        if not asks[0].picture:
            from medclm.eval.text_only import answer_text_only

            questions = [ask.question for ask in asks]
            said = answer_text_only(self.predictor, questions, self.mode, self.max_new_tokens)
            return [Reply(one) for one in said]
        good = [ask for ask in asks if not isinstance(images[ask.picture], str)]
        requests = [self._request(ask, images[ask.picture]) for ask in good]  # type: ignore[arg-type]
        found = iter(self._ask(requests, good))
        return [broken(image) if isinstance(image := images[a.picture], str) else next(found) for a in asks]

    def _request(self, ask: Ask, image: PIL.Image.Image) -> Request:
        from medclm.serve.predictor import Request

        return Request(image, ask.question, mode=self.mode, max_new_tokens=self.max_new_tokens)  # type: ignore[arg-type]

    def _ask(self, requests: Sequence[Request], asks: Sequence[Ask]) -> list[Reply]:
        if not requests:
            return []
        predictions = self.predictor.predict(list(requests))
        replies = [Reply(prediction) for prediction in predictions]
        boxed = [n for n, ask in enumerate(asks) if ask.boxes]
        if boxed:
            from medclm.eval.attention import attention_masses

            shown = [(requests[n], predictions[n].text, asks[n].boxes) for n in boxed]
            for n, (mass, even) in zip(boxed, attention_masses(self.predictor, shown), strict=True):
                replies[n] = Reply(predictions[n], attention=mass, attention_even=even)
        return replies


def has_weights(model: Any) -> bool:
    """Whether a model can be asked without a picture and measured inside: a directory, or a Predictor."""
    from medclm.serve.predictor import Predictor

    return isinstance(model, (str, Path, Predictor))

"""A backend of the API without Ray: the predictor in a thread."""

from __future__ import annotations

import asyncio

from medclm.serve.backend import Reply
from medclm.train.collate import FORCED


class Local:
    """One predictor under the name ``tiny``."""

    def __init__(self, predictor) -> None:
        self.predictor = predictor
        self.calls = 0

    async def predict(self, call):
        self.calls += 1
        return Reply((await asyncio.to_thread(self.predictor.predict, [call.request]))[0])

    async def stream(self, call):
        pieces: list[str] = []
        listeners = [lambda piece: pieces.append(piece) or True]
        (prediction,) = await asyncio.to_thread(self.predictor.predict, [call.request], listeners)
        for piece in [FORCED[call.request.mode], *filter(None, pieces)]:
            yield piece
        yield Reply(prediction)

    async def models(self):
        return {"tiny": self.predictor.info}

    async def ready(self):
        return True

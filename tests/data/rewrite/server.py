"""A real chat endpoint on loopback: FastAPI under uvicorn, a rule-based paraphraser with faults on demand."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections import Counter, deque
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

RULES = [
    (r"^There is (an? .+?) in (the .+|both .+)\.$", r"Within \2, \1 can be seen."),
    (r"^This is (.+)\.$", r"The picture shown is \1."),
    (r"^It lies in (.+), (\w+) zone\.$", r"It is located in the \2 zone of \1."),
    (r"^It lies in (.+)\.$", r"It is situated in \1."),
    (r"^It is the only finding\.$", "No other finding is seen."),
    (r"^It is (\d+ mm.*)\.$", r"It measures \1."),
    (r"^The (\w+) is (.+)\.$", r"So the \1 is \2."),
    (r"^(So .+) is present\.$", r"\1 is indeed present."),
    (r"^.*\b(?:Is|Does|Can|Do|Has|Would|Are)\b.*\b(an? \w+)\b.*\?$", r"Could you tell whether \1 is present?"),
    (r"^.*[Ss]ide.*?the (\w+).*$", r"Which side of the body is the \1 on?"),
    (r"^.*[Oo]rgan.*?the (\w+).*$", r"Please name the organ in which the \1 is found."),
]


def paraphrase(text: str) -> str:
    """The first rule that applies; a text that no rule knows comes back as it is."""
    for pattern, words in RULES:
        if re.match(pattern, text):
            return re.sub(pattern, words, text)
    return text


class Paraphraser:
    """The server. ``faults`` are consumed one a request: a status code, ``garbage``, ``html``, ``slow`` or None.

    ``calls`` counts requests, ``seen`` the prompts, ``most_at_once`` the highest number under way together.
    """

    def __init__(self, key: str = "") -> None:
        self.key, self.faults = key, deque[Any]()
        self.calls, self.under_way, self.most_at_once = 0, 0, 0
        self.seen: Counter[str] = Counter()
        self.times: list[float] = []
        self.lies = False
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.server = uvicorn.Server(uvicorn.Config(self._app(), log_level="error", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body = await request.json()
            self.calls += 1
            self.times.append(time.monotonic())
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            try:
                return await self._answer(body, request.headers.get("authorization", ""))
            finally:
                self.under_way -= 1

        return app

    async def _answer(self, body: dict[str, Any], authorization: str) -> Response:
        await asyncio.sleep(0.01)
        if self.key and authorization != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "wrong key"}}, 401)
        if body["model"] != "paraphraser":
            return JSONResponse({"error": {"message": "no such model"}}, 404)
        fault = self.faults.popleft() if self.faults else None
        if fault == 429:
            return JSONResponse({"error": {"message": "slow down"}}, 429, {"Retry-After": "1"})
        if isinstance(fault, int):
            return JSONResponse({"error": {"message": "fault"}}, fault)
        if fault == "html":
            return PlainTextResponse("<html>proxy</html>", media_type="text/html")
        if fault == "slow":
            await asyncio.sleep(3)
        prompt = body["messages"][-1]["content"]
        self.seen[prompt] += 1
        asked = json.loads(prompt)
        texts = [paraphrase(text) for text in [asked["question"], *asked["steps"]]]
        if self.lies:
            texts = [text.replace("left", "right") for text in texts]
        content = json.dumps({"question": texts[0], "steps": texts[1:]})
        content = '{"question": ' if fault == "garbage" else f"Sure, here it is:\n```json\n{content}\n```"
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(content) // 4, "total_tokens": 0}
        reply = {"id": "c", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [message]}
        return JSONResponse({**reply, "usage": usage})

"""What the tests of the page share: a model with known answers, the API in this process, and what a reader does."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import socket
import threading

from PIL import Image

from medclm.serve.api import Limits
from medclm.serve.backend import Reply
from medclm.serve.guards import ApiError
from medclm.serve.requests import Prediction
from medclm.train.target import StepReader, parse_answer
from tests.serve.local import Local

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LIMITS = Limits(name="tiny", max_new_tokens=12, max_upload_bytes=200_000, max_image_pixels=100_000)
NODULE, LUNG = (8.0, 10.0, 24.0, 30.0), (4.0, 5.0, 40.0, 35.0)
"""Boxes that :class:`Said` names, in pixels of the picture of 48 x 40."""
DONE = ".turn:not([aria-busy])"


class Said(Local):
    """Says what a trained model would, in the form of the tiny model's family, so that boxes are known. A question that
    begins with "wait" is held after its first line until ``go`` is set."""

    go = threading.Event()

    async def stream(self, call):
        size_hw, family = call.request.size_hw, self.predictor.family
        reader = StepReader(size_hw, family)
        nodule, lung = (family.box_to_text(box, size_hw) for box in (NODULE, LUNG))
        lines = [f"seed: There is a nodule. {nodule}\n", f"organ: It lies in the lung. {lung}\n", "view: Frontal.\n"]
        pieces = ["Reasoning:\n", *lines] if call.request.mode == "reason" else []
        pieces += ["Answer:", " yes"]
        for place, piece in enumerate(pieces):
            if place == 2 and call.request.question.startswith("wait"):
                while not self.go.is_set():
                    await asyncio.sleep(0.02)
            if call.request.question.startswith("busy"):
                raise ApiError(429, "too many requests are waiting; try again", code="queue_full")
            yield piece
            for step in reader.add(piece):
                yield step
        parsed = parse_answer("".join(pieces), size_hw, family)
        yield Reply(Prediction("".join(pieces), parsed.answer, 0.81, parsed.steps, parsed.ok))


class Server:
    """An API on a loopback port of its own, on a thread of its own."""

    def __init__(self, app) -> None:
        import uvicorn

        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


def choose(page, data: bytes, name: str = "a.png") -> None:
    """Put a file in, and wait for its picture."""
    page.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": data})
    page.wait_for_selector(f"#caption:has-text('{name} ·')")


def ask(page, question: str = "Is there a nodule?"):
    """Ask, and wait for the whole answer; its card."""
    page.fill("#question", question)
    page.click("#send")
    page.wait_for_selector(f"{DONE}:has-text('{question}')")
    return page.locator(DONE).first


def rect(page, selector: str) -> tuple[float, ...]:
    """x1, y1, x2, y2 on the screen."""
    return tuple(
        page.eval_on_selector(
            selector, "e => (({left, top, right, bottom}) => [left, top, right, bottom])(e.getBoundingClientRect())"
        )
    )


def in_pixels(page, selector: str) -> tuple[float, ...]:
    """Where an element lies on the picture, in pixels of the picture, by what the browser laid out."""
    x1, y1, x2, _ = rect(page, "#picture")
    scale = (x2 - x1) / page.eval_on_selector("#picture", "image => image.naturalWidth")
    return tuple((value - origin) / scale for value, origin in zip(rect(page, selector), (x1, y1) * 2, strict=True))


def grays(page) -> list[int]:
    """The grey values of the picture on the stage."""
    return gray_levels(page.get_attribute("#picture", "src"))


def gray_levels(address: str) -> list[int]:
    """The grey values of a picture by its data URI."""
    return list(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("L").tobytes())

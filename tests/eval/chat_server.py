"""A real HTTP server that speaks enough of the OpenAI protocol, and misbehaves when a question says so."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer:
    """Answers by ``reply(question, has_image)``. Questions steer it:

    "garbage": a body that is no JSON; "empty": no choices; "busy": 503 the first time; "slow": past any time-out
    while ``slow`` is set; "long": 10,000 words; "refused": 400.
    """

    def __init__(self, reply=lambda question, has_image: "yes", owner: str = "someone") -> None:
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict] = []
        self.slow, self.models, self.under_way, self.most = True, ["vlm"], 0, 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args) -> None:
                pass

            def do_GET(self) -> None:
                self.send(200, {"object": "list", "data": [
                    {"id": name, "object": "model", "created": 0, "owned_by": owner} for name in outer.models
                ]})  # fmt: skip

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content = body["messages"][-1]["content"]
                parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
                question = next(part["text"] for part in parts if part["type"] == "text")
                with lock:
                    outer.seen[question] += 1
                    outer.bodies.append(body)
                    outer.under_way += 1
                    outer.most = max(outer.most, outer.under_way)
                try:
                    self.respond(question, any(part["type"] == "image_url" for part in parts))
                finally:
                    with lock:
                        outer.under_way -= 1

            def respond(self, question: str, has_image: bool) -> None:
                if "garbage" in question:
                    return self.raw(200, b"<html>proxy</html>")
                if "empty" in question:
                    return self.send(200, {"object": "chat.completion", "choices": []})
                if "refused" in question:
                    return self.send(400, {"error": {"message": "too large"}})
                if "busy" in question and outer.seen[question] == 1:
                    return self.send(503, {"error": {"message": "busy"}})
                if "slow" in question and outer.slow:
                    time.sleep(0.7)
                text = "lung " * 10_000 if "long" in question else reply(question, has_image)
                message = {"role": "assistant", "content": text}
                return self.send(200, {
                    "id": "1", "object": "chat.completion", "created": 0, "model": "vlm",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                })  # fmt: skip

            def send(self, status: int, body: dict) -> None:
                self.raw(status, json.dumps(body).encode())

            def raw(self, status: int, body: bytes) -> None:
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("Retry-After-Ms", "1")
                    self.end_headers()
                    self.wfile.write(body)
                except BrokenPipeError:
                    pass  # the client timed out

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

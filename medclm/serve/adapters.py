"""Several LoRA adapters on one base: the weights of the base are in memory once, each adapter adds its own few.

Rows of different adapters cannot share a forward pass here; engines take turns, and a turn switches to its adapter.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any

from medclm.errors import UsageError
from medclm.serve.predictor import Predictor, check_model_dir


class Turns:
    """A lock that is handed over in the order of asking, so that no engine starves while another is busy."""

    def __init__(self) -> None:
        self._queue: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and hold it for the ``with`` block."""
        me = object()
        with self._changed:
            self._queue.append(me)
            self._changed.wait_for(lambda: self._queue[0] is me)
        try:
            yield
        finally:
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()


class Shared:
    """One base and the adapters of it that are open.

    Args:
        model_dir: an exported model. An adapter export is opened as the adapter ``name``; other weights are the base
            alone, under that name.
        name: the model's name in the API.
        adapters: directories of adapter exports of the same base, by the name in the API.
        device, threads: as :class:`medclm.serve.predictor.Predictor` takes them.

    Raises:
        UsageError: a directory is no exported model, or an adapter belongs to another base.
    """

    def __init__(
        self,
        model_dir: str | Path,
        name: str,
        adapters: dict[str, str],
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        for folder in (model_dir, *adapters.values()):
            check_model_dir(folder)
        self.name, self.device = name, device
        self.places = {name: Path(model_dir), **{key: Path(value) for key, value in adapters.items()}}
        for key, place in self.places.items():
            self._check(key, place)
        self.turns = Turns()
        self._peft: Any = None
        self._active: str | None = None
        self.base = Predictor(model_dir, device, threads, merge=not adapters)
        self._model = self.base.model
        if adapters and _is_adapter(self.places[name]):
            self._load(name)

    def open(self, name: str) -> Predictor:
        """A predictor of one of the names; its adapter is loaded where it is not yet."""
        if name == self.name and len(self.places) == 1:
            return self.base
        if _is_adapter(self.places[name]) and (self._peft is None or name not in self._peft.peft_config):
            with self.turns.take():
                self._load(name)
        info = json.loads((self.places[name] / "medclm.json").read_text())
        return self.base.like({**info, "versions": self.base.info["versions"]}, lambda: self._turn(name))

    def close(self, name: str) -> None:
        """Forget an adapter's weights."""
        if self._peft is not None and name in self._peft.peft_config:
            with self.turns.take():
                self._peft.delete_adapter(name)
                self._active = None

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        with self.turns.take():
            if self._active != name:
                self._switch(name)
            yield

    def _switch(self, name: str) -> None:
        if self._peft is not None and name in self._peft.peft_config:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(name)
        elif self._peft is not None:
            self._peft.base_model.disable_adapter_layers()
        self._active = name

    def _load(self, name: str) -> None:
        from peft import PeftModel

        place = str(self.places[name])
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(self._model, place, adapter_name=name)
        else:
            self._peft.load_adapter(place, adapter_name=name)
        self._peft.eval()
        self._active = None

    def _check(self, name: str, place: Path) -> None:
        first = self.places[self.name]
        if name == self.name:
            return
        if not _is_adapter(place):
            raise UsageError("the adapter is no adapter export", where=place, remedy="export the run without --merge")
        if base_identity(first) != base_identity(place):
            raise UsageError(
                "the adapter belongs to another base model",
                where=place,
                expected=f"the base of {first}",
                remedy="serve it as a model of its own",
            )


def _is_adapter(place: Path) -> bool:
    return (place / "adapter_config.json").is_file()


def base_identity(place: Path) -> str:
    """What base an export stands on: its hub name, or the SHA-256 of the weights where they lie in a directory."""
    base = json.loads((place / "medclm.json").read_text())["base"] if _is_adapter(place) else "."
    folder = place / base if (place / base).is_dir() else Path(base)
    if not folder.is_dir():
        return str(base)
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()

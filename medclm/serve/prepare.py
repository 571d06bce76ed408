"""The part of answering that needs no model: pictures to arrays, questions to token ids. CPU, any thread or machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclm.errors import UsageError
from medclm.serve.lru import ByteCache
from medclm.serve.requests import Picture, Prepared, Request

if TYPE_CHECKING:
    import PIL.Image

    from medclm.train.families import Family

PREPARED_ROOM = 1 << 28
"""Bytes kept of processed pictures."""


class Preparer:
    """The model's processor alone: pictures to arrays, questions to token ids. Safe to call from several threads."""

    def __init__(self, processor: Any, family: Family, grid_hw: tuple[int, int] | None) -> None:
        from medclm.train.collate import Encoder

        self.encoder = Encoder(processor, family, grid_hw)
        self._pictures: ByteCache[bytes, Picture] = ByteCache(PREPARED_ROOM)
        added = processor.tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(processor.tokenizer.all_special_tokens)
        self._controls = sorted(special | {processor.tokenizer.decode([self.encoder.image_token_id])}, key=len)

    @classmethod
    def load(cls, model_dir: str | Path) -> Preparer:
        """The processor of an exported model, without its weights.

        Raises:
            UsageError: the directory is no exported model.
        """
        check_model_dir(model_dir)
        from transformers import AutoConfig, AutoProcessor

        from medclm.train.families import bind, family_of

        place = Path(model_dir)
        config = AutoConfig.from_pretrained(config_dir(place))
        processor = AutoProcessor.from_pretrained(place)
        family = bind(family_of(config.model_type), processor)
        return cls(processor, family, family.image_grid(config))

    def prepare(self, request: Request) -> Prepared:
        """Everything about a request that does not need the model."""
        pictures = tuple(self._picture(image) for image in (*request.earlier, request.image))
        sizes_hw = [picture.size_hw for picture in pictures]
        text = self.encoder.prompt(self._plain(request.question), request.mode, sizes_hw)
        ids = self.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prepared(pictures, tuple(ids), request.mode, request.settings)

    def _plain(self, question: str) -> str:
        """The question without the texts of any added token, until none is left: those of taken-out ones may join."""
        while (found := next((token for token in self._controls if token in question), None)) is not None:
            question = question.replace(found, " ")
        return question

    def _picture(self, image: PIL.Image.Image) -> Picture:
        import numpy as np

        head = f"{image.mode} {image.size}".encode()
        key = hashlib.blake2b(head + image.tobytes(), digest_size=16).digest()
        if (found := self._pictures.get(key)) is not None:
            return found
        seen = self.encoder.look(np.asarray(image.convert("RGB")))
        arrays = {name: value.numpy() for name, value in seen.tensors.items()}
        picture = Picture(arrays, key, (image.height, image.width))
        self._pictures.put(key, picture, sum(array.nbytes for array in arrays.values()))
        return picture


def check_model_dir(model_dir: str | Path) -> None:
    """Fail early, before anything heavy is imported, when ``model_dir`` is no exported model.

    Raises:
        UsageError: there is no such directory, or it lacks ``medclm.json``.
    """
    folder = Path(model_dir)
    if (folder / "medclm.json").is_file():
        return
    what = "the model directory is not an exported model" if folder.is_dir() else "the model directory does not exist"
    raise UsageError(
        what,
        where=folder,
        expected="a directory with medclm.json, written by medclm train or medclm export",
        remedy="give the model folder of a finished medclm train, or run medclm export --run RUN --to DIR",
    )


def config_dir(place: Path) -> str:
    """Where the model's ``config.json`` lies: the export itself, or the base of an adapter."""
    if (place / "config.json").is_file():
        return str(place)
    base = json.loads((place / "medclm.json").read_text())["base"]
    return str(place / base) if (place / base).is_dir() else str(base)

"""What is put to a model: every question, and its variants for the controls, each distinct one once.

A picture is a recipe (which file, what is done to it), so that a blank or masked picture is made where it is shown.
Asks are grouped into windows: all asks about the same picture are in one window, so a picture is read and encoded once;
inside a window they are sorted by length, so that batches pad little.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from medclm import storage
from medclm.data.records import BoxXyxy
from medclm.errors import MedclmError
from medclm.eval.benchmarks import Benchmark, Item
from medclm.eval.controls import blank_image, elsewhere, hide, shuffled_images

if TYPE_CHECKING:
    import PIL.Image

Edit = Literal["", "blank", "masked"]
VARIANTS = ("question", "blank", "shuffled", "text_only", "masked", "elsewhere")
WINDOW_BATCHES = 4
"""Batches that a window has at least."""


@dataclass(frozen=True)
class Picture:
    """A picture to show.

    Attributes:
        name: unique among pictures; empty for no picture at all.
        source: the encoded file, or its address.
        edit: "blank" is uniformly grey, "masked" hides ``boxes``.
        boxes: what is hidden, pixels of the picture.
    """

    name: str
    source: bytes | str = field(repr=False)
    edit: Edit = ""
    boxes: tuple[BoxXyxy, ...] = ()

    def open(self) -> PIL.Image.Image:
        """The picture as it is shown, 8 bits, "L" or "RGB", by the same two calls that serving makes.

        Raises:
            MedclmError: it is missing or cannot be decoded.
        """
        image = open_image(self.source, self.name)
        if self.edit == "blank":
            return blank_image(image)
        return hide(image, self.boxes) if self.edit == "masked" else image


NO_PICTURE = Picture("", b"")


@dataclass(frozen=True)
class Ask:
    """One distinct question about one picture. ``boxes``: where attention is measured, empty for nowhere."""

    item: str
    picture: str
    question: str
    boxes: tuple[BoxXyxy, ...] = ()


@dataclass(frozen=True)
class Window:
    """Asks that are answered together, with every picture they show. ``names``: of each ask a hash of what it shows."""

    pictures: tuple[Picture, ...]
    asks: tuple[Ask, ...]
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """A hash of all that is asked."""
        return storage.fingerprint(self.names)

    def picture(self, name: str) -> Picture:
        """The picture of that name; :data:`NO_PICTURE` for the empty one."""
        return next((picture for picture in self.pictures if picture.name == name), NO_PICTURE)


Key = tuple[str, str, str]
"""(benchmark, item id, variant) of one answer."""


@dataclass
class Plan:
    """All asks of an evaluation.

    Attributes:
        asks: distinct ones, in the order in which they were first wanted.
        pictures: by name.
        wanted: the place in ``asks`` of every (benchmark, item, variant).
        notes: by benchmark: which control cannot be run, and why.
    """

    asks: list[Ask] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    wanted: dict[Key, int] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    _places: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, key: Key, item: Item, picture: Picture, apart: bool, boxes: tuple[BoxXyxy, ...] = ()) -> None:
        """Wants an answer; ``apart`` keeps it from sharing that of an equal question about an equal picture."""
        same = (picture.name, item.question, *([key[0], item.id] if apart else []))
        if same not in self._places:
            self._places[same] = len(self.asks)
            self.asks.append(Ask(item.id, picture.name, item.question, boxes))
            if picture.name:
                self.pictures.setdefault(picture.name, picture)
        self.wanted[key] = self._places[same]


def make_plan(
    benchmarks: Sequence[Benchmark], variants: Sequence[str], seed: int, apart: bool = False, attend: bool = False
) -> Plan:
    """The asks of some benchmarks.

    Args:
        variants: of :data:`VARIANTS`; those that an item cannot have (masked without boxes) are left out for it.
        seed: of the shuffled pictures and of where the other mask lies.
        apart: no two items share an answer (a predictions file answers by id).
        attend: whether attention is measured where an item has boxes.
    """
    plan = Plan()
    for benchmark in benchmarks:
        notes = plan.notes.setdefault(benchmark.name, [])
        shown = [item for item in benchmark.items if item.image is not None]
        others = shuffled_images(shown, seed) if "shuffled" in variants else {}
        if "shuffled" in variants and not others:
            notes.append("no shuffled-image control: all questions are about one patient")
        by_image = {item.image_id: item for item in shown}
        pictures = {name: _own(benchmark.name, item) for name, item in by_image.items()}
        sized = bool({"blank", "masked", "elsewhere"} & set(variants))
        sizes = {name: image_size(picture.source) for name, picture in pictures.items()} if sized else {}
        for variant in VARIANTS:
            for item in shown if variant in variants else []:
                own = pictures[item.image_id]
                picture = _variant(variant, item, own, pictures.get(others.get(item.image_id, "")), sizes, seed)
                if picture is not None:
                    boxes = item.boxes if attend and variant == "question" else ()
                    plan.add((benchmark.name, item.id, variant), item, picture, apart, boxes)
    return plan


def _own(benchmark: str, item: Item) -> Picture:
    assert item.image is not None
    return Picture(f"{benchmark}/{item.image_id}", item.image)


def _variant(
    variant: str, item: Item, own: Picture, other: Picture | None, sizes: dict[str, tuple[int, int] | None], seed: int
) -> Picture | None:
    """The picture of a variant; None where the item has none."""
    if variant == "question":
        return own
    if variant == "shuffled":
        return other
    if variant == "text_only":
        return NO_PICTURE
    size_hw = sizes[item.image_id]
    if size_hw is None:
        return None
    if variant == "blank":
        return Picture(f"blank {size_hw[1]}x{size_hw[0]}", own.source, "blank")
    if not item.boxes:
        return None
    boxes = item.boxes if variant == "masked" else elsewhere(item.boxes, size_hw, random.Random(f"{seed}/{item.id}"))
    if not boxes:
        return None
    where = hashlib.sha256(repr(boxes).encode()).hexdigest()[:12]
    return Picture(f"{own.name} without {where}", own.source, "masked", boxes)


def make_windows(plan: Plan, batch_size: int) -> list[Window]:
    """The plan's asks in windows of about :data:`WINDOW_BATCHES` batches, each picture whole in one of them.

    Asks without a picture form windows of their own.
    """
    by_picture: dict[str, list[Ask]] = {}
    for ask in plan.asks:
        by_picture.setdefault(ask.picture, []).append(ask)
    room = WINDOW_BATCHES * batch_size
    windows: list[Window] = []
    held: list[Ask] = []
    for name, asks in sorted(by_picture.items()):
        if not name:
            windows += [_window(plan, asks[at : at + room]) for at in range(0, len(asks), room)]
            continue
        if held and len(held) + len(asks) > room:
            windows.append(_window(plan, held))
            held = []
        held = [*held, *asks]
    return [*windows, *([_window(plan, held)] if held else [])]


def _window(plan: Plan, asks: Sequence[Ask]) -> Window:
    asks = sorted(asks, key=lambda ask: (len(ask.question), ask.question, ask.picture, ask.item))
    pictures = tuple(plan.pictures[name] for name in dict.fromkeys(ask.picture for ask in asks) if name)
    marks = {p.name: [_source_mark(p.source), p.edit, p.boxes] for p in pictures}
    names = [storage.fingerprint([marks.get(a.picture), a.question, a.boxes]) for a in asks]
    return Window(pictures, tuple(asks), tuple(names))


def _source_mark(source: bytes | str) -> str:
    """What changes when a picture does: its hash, or address, size and time of its file."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    fs, path = storage.open_fs(source)
    info = fs.info(path)
    return f"{source} {info.get('size')} {info.get('mtime') or info.get('LastModified') or ''}"


def batches(window: Window, batch_size: int) -> Iterator[list[int]]:
    """Places of the window's asks, batch by batch, shortest question first."""
    for start in range(0, len(window.asks), batch_size):
        yield list(range(start, min(start + batch_size, len(window.asks))))


def open_image(source: bytes | str | None, name: str) -> PIL.Image.Image:
    """A picture as displayed, 8 bits, "L" or "RGB".

    Raises:
        MedclmError: it is missing or cannot be decoded.
    """
    import PIL.Image

    from medclm.data.images import read_picture, render

    if source is None:
        raise MedclmError("the picture is missing", where=name)
    data = source if isinstance(source, bytes) else storage.read_bytes(source)
    values, _ = render(read_picture(data, name))
    return PIL.Image.fromarray(values)


def image_size(source: bytes | str) -> tuple[int, int] | None:
    """(height, width) of a picture; from its header where Pillow can, None where it cannot be read at all."""
    import io

    import PIL.Image

    try:
        data = source if isinstance(source, bytes) else storage.read_bytes(source)
        with PIL.Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except PIL.UnidentifiedImageError:
        return _decoded_size(data)
    except (OSError, MedclmError):
        return None


def _decoded_size(data: bytes) -> tuple[int, int] | None:
    try:
        image = open_image(data, "")
    except MedclmError:
        return None
    return image.height, image.width

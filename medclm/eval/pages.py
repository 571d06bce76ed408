"""Pages: what the HTML reports share. One self-contained file each: inline CSS, pictures as data URIs, no script.

Boxes and labels are SVG over the picture, so that they stay sharp at any size and the picture itself stays untouched.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from medclm.data.records import BoxXyxy

if TYPE_CHECKING:
    import PIL.Image
    from markupsafe import Markup

NOTICE = "Research software, not a medical device. Not for diagnosis or treatment."
MAX_SIDE = 512
"""Longest side of a picture in a page, in pixels."""
LETTER_UNITS = 2.5
"""Width of a letter of a label, about, in hundredths of the picture's longer side."""
ORGAN_COLORS = (
    (70, 140, 255), (0, 178, 140), (200, 104, 255), (240, 160, 30), (244, 88, 126), (120, 200, 235),
    (190, 200, 60), (255, 130, 70), (150, 140, 255), (90, 210, 110),
)  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """One box over a picture. ``kind``: "reference" (green), "predicted" (orange, dashed) or "attention" (blue)."""

    box_xyxy: BoxXyxy
    kind: str
    label: str = ""


def render_page(template: str, **context: Any) -> str:
    """A page from a template in ``templates/``; every value is escaped unless it is Markup."""
    return _environment().get_template(template).render(notice=NOTICE, **context)


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medclm.eval", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "interval": interval,
        "signed": signed,
        "pvalue": pvalue,
    }
    return environment


def percent(share: float | None) -> str:
    """0.6542 is "65.4 %"; None is a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits; None is a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def pvalue(value: float | None) -> str:
    """A p-value: "p 0.031", "p < 0.001"; None is a dash."""
    if value is None:
        return "–"
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def signed(share: float | None) -> str:
    """A lead in points with its sign: "+3.2"; None is a dash."""
    return "–" if share is None else f"{100 * share:+.1f}"


def interval(values: Mapping[str, Any] | None) -> str:
    """The interval of a number in per cent: "61.2–69.8", "-4.7 to 0.2" where a minus is in it; None is a dash."""
    if not values or values.get("low") is None:
        return "–"
    between = " to " if values["low"] < 0 else "–"
    return f"{100 * values['low']:.1f}{between}{100 * values['high']:.1f}"


def data_uri(image: PIL.Image.Image | np.ndarray) -> str:
    """A picture ("L", "RGB", "RGBA", or an array of such) as a data URI, at most :data:`MAX_SIDE` long.

    Small and transparent ones are PNG, the others JPEG.
    """
    import PIL.Image

    picture = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image.copy()
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    kind = "PNG" if picture.mode == "RGBA" or max(picture.size) <= 160 else "JPEG"
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=88, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure(
    image: PIL.Image.Image | np.ndarray,
    marks: Sequence[Mark] = (),
    alt: str = "",
    organs: Mapping[str, np.ndarray] | None = None,
    name: str = "",
    reuse: bool = False,
) -> Markup:
    """An SVG of a picture with boxes and, under them, the outlines of organs.

    Args:
        image: the picture, 8 bits.
        marks: boxes in pixels of the picture.
        alt: what the picture shows, for readers who do not see it.
        organs: boolean masks (H, W) by label; see :func:`organ_colors`.
        name: an id for the picture in the page.
        reuse: show the picture that an earlier figure of the page named ``name``, and store no second copy.
    """
    from markupsafe import Markup, escape

    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    unit, extent = max(height, width) / 100, f'width="{width}" height="{height}"'
    parts = [f'<svg class="figure" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}">']
    if reuse:
        parts.append(f'<use href="#{escape(name)}"/>')
    else:
        own = f'id="{escape(name)}" ' if name else ""
        parts.append(f'<image {own}href="{data_uri(image)}" {extent}/>')
    if organs:
        parts.append(f'<image href="{data_uri(_outlines(organs))}" {extent}/>')
    taken: list[tuple[float, float, float]] = []
    parts += [_mark(mark, unit, (height, width), taken) for mark in marks]
    return Markup("".join([*parts, "</svg>"]))


def organ_colors(labels: Iterable[str]) -> dict[str, str]:
    """The CSS colour of each organ's outline, by its place."""
    return {
        label: "rgb({},{},{})".format(*ORGAN_COLORS[place % len(ORGAN_COLORS)]) for place, label in enumerate(labels)
    }


def _mark(mark: Mark, unit: float, size_hw: tuple[int, int], taken: list[tuple[float, float, float]]) -> str:
    """A box and its label, which goes where no label of ``taken`` (left, right, baseline) is, and is added to them."""
    from markupsafe import escape

    x1, y1, x2, y2 = mark.box_xyxy
    box = f'x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"'
    text = ""
    if mark.label:
        above = mark.kind == "reference"
        y = y1 - unit if above else y2 + 4.6 * unit
        y = min(max(y, 4.6 * unit), size_hw[0] - unit)
        right = x1 > size_hw[1] * 0.6
        anchor, x = ("end", x2) if right else ("start", x1)
        length = LETTER_UNITS * unit * len(mark.label)
        left = x - length if right else x
        y = _free(y, left, left + length, unit, size_hw[0], taken)
        style = f'font-size="{4.4 * unit:.2f}" stroke-width="{unit:.2f}" text-anchor="{anchor}"'
        text = f'<text class="mark-text {mark.kind}" x="{x:g}" y="{y:.1f}" {style}>{escape(mark.label)}</text>'
    return f'<rect class="mark {escape(mark.kind)}" {box}/>{text}'


def _free(
    y: float, left: float, right: float, unit: float, height: int, taken: list[tuple[float, float, float]]
) -> float:
    """The baseline nearest to ``y`` at which a label meets no other one; ``y`` itself where there is none."""
    line = 5 * unit
    beside = [at for start, end, at in taken if start < right and left < end]
    wanted = [y, *(at + sign * line for at in sorted(beside, key=lambda at: abs(at - y)) for sign in (1, -1))]
    inside = [at for at in wanted if line - unit <= at <= height - unit or at == y]
    free = [at for at in inside if all(abs(at - other) > line - 0.01 * unit for other in beside)]
    found = min(free, key=lambda at: abs(at - y), default=y)
    taken.append((left, right, found))
    return found


def _outlines(organs: Mapping[str, np.ndarray]) -> np.ndarray:
    """(H, W, 4) uint8: each mask's area faintly, its border clearly, in the colour of its place."""
    from scipy.ndimage import binary_erosion

    layer = np.zeros((*next(iter(organs.values())).shape, 4), np.uint8)
    for place, mask in enumerate(organs.values()):
        color = ORGAN_COLORS[place % len(ORGAN_COLORS)]
        border = mask & ~binary_erosion(mask, iterations=max(1, max(mask.shape) // 256))
        layer[mask & (layer[..., 3] == 0)] = (*color, 26)
        layer[border] = (*color, 215)
    return layer


def bar(values: Mapping[str, Any] | float | None, tone: str = "main") -> Markup:
    """A horizontal bar for a share of 0 to 1, with a whisker for its interval. An SVG as wide as its cell.

    Args:
        values: the share, or an interval's dict (value, low, high); None draws the empty track.
        tone: "main", "other" or "control": the colour.
    """
    from markupsafe import Markup

    given: Mapping[str, Any] = values if isinstance(values, Mapping) else {"value": values}
    parts = ['<svg class="bar" width="100%" height="16" aria-hidden="true">']
    parts.append('<rect class="track" width="100%" height="16"/>')
    if given.get("value") is not None:
        parts.append(f'<rect class="fill {tone}" width="{100 * _clip(given["value"]):.2f}%" height="16"/>')
    if given.get("low") is not None and given["high"] > given["low"]:
        low, high = 100 * _clip(given["low"]), 100 * _clip(given["high"])
        parts.append(f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="8" y2="8"/>')
        parts += [f'<line class="whisker" x1="{x:.2f}%" x2="{x:.2f}%" y1="4" y2="12"/>' for x in (low, high)]
    return Markup("".join([*parts, "</svg>"]))


def _clip(share: float) -> float:
    return min(max(share, 0.0), 1.0)

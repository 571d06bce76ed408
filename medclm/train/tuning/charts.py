"""The report's drawings: SVG without script, in the page's own colours, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclm.train.tuning.trials import STAGES, Trial

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH = 1060
LEFT, RIGHT, TOP = 66, 60, 16
ORDER = ("failed", "stopped", "finished", "untuned", "best")
"""Kinds of trials, those drawn on top last."""
SHOWN = 24
"""Trials that get a stage strip of their own."""


@dataclass(frozen=True)
class Axis:
    """One axis of the parallel coordinates. ``places``: each trial's place, 0 (bottom) to 1, None where it has none."""

    label: str
    low: str
    high: str
    places: tuple[float | None, ...]
    texts: tuple[str, ...]


def number_axis(label: str, values: Sequence[float | None], ends: tuple[float, float], log: bool = False) -> Axis:
    """An axis for numbers, from ``ends[0]`` to ``ends[1]``."""
    scale = (lambda value: math.log(value)) if log else (lambda value: value)
    low, high = scale(ends[0]), scale(ends[1])
    width = (high - low) or 1.0
    places = tuple(None if v is None else min(max((scale(v) - low) / width, 0.0), 1.0) for v in values)
    texts = tuple("–" if v is None else f"{v:.4g}" for v in values)
    return Axis(label, f"{ends[0]:.3g}", f"{ends[1]:.3g}", places, texts)


def list_axis(label: str, values: Sequence[Any], listed: Sequence[Any]) -> Axis:
    """An axis for a list of values, at equal distances; numbers in their order."""
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in listed)
    ordered = sorted(listed) if numeric else list(listed)
    step = 1 / max(1, len(ordered) - 1)
    places = tuple(ordered.index(value) * step if value in ordered else None for value in values)
    return Axis(label, str(ordered[0]), str(ordered[-1]), places, tuple(str(value) for value in values))


def parallel(axes: Sequence[Axis], kinds: Sequence[str], names: Sequence[str]) -> Markup:
    """Parallel coordinates: a line a trial over all axes.

    Args:
        kinds: CSS class of each trial's line: "best", "untuned", "finished", "stopped", "failed".
    """
    height, top, bottom = 300, 44, 262
    gap = (WIDTH - 2 * LEFT) / max(1, len(axes) - 1)
    xs = [LEFT + gap * n for n in range(len(axes))]
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="parallel coordinates">']
    for n in sorted(range(len(names)), key=lambda n: ORDER.index(kinds[n])):
        places = [(x, axis.places[n]) for x, axis in zip(xs, axes, strict=True)]
        points = [(x, bottom - (bottom - top) * place) for x, place in places if place is not None]
        told = ", ".join(f"{axis.label} {axis.texts[n]}" for axis in axes)
        parts.append(f'<polyline class="line {kinds[n]}" points="{_points(points)}">'
                     f"<title>{_text(names[n])}: {_text(told)}</title></polyline>")  # fmt: skip
    for place, (x, axis) in enumerate(zip(xs, axes, strict=True)):
        anchor = "start" if place == 0 else "end" if place == len(axes) - 1 else "middle"
        shift = -10 if place == 0 else 10 if place == len(axes) - 1 else 0
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(_label(x + shift, 18, axis.label, anchor, "name"))
        parts += [_label(x, 36, axis.high, "middle"), _label(x, bottom + 18, axis.low, "middle")]
    return _markup([*parts, "</svg>"])


@dataclass(frozen=True)
class Frame:
    """Where steps and scores lie in the drawing of the curves, in its units."""

    steps: int
    low: float
    high: float
    plot: float = 240
    right: float = WIDTH - RIGHT

    def x(self, step: float) -> float:
        return LEFT + (self.right - LEFT) * step / self.steps

    def y(self, score: float) -> float:
        return TOP + self.plot * (1 - (score - self.low) / (self.high - self.low))


def curves(trials: Sequence[Trial], kinds: Sequence[str], steps: int, metric: str) -> Markup:
    """Learning curves, and under them the shares of the stages that each trial trained, over the same steps."""
    low, high = _ends([score for trial in trials for _, score in trial.history])
    frame = Frame(steps, low, high)
    shown = [n for n in range(len(trials)) if trials[n].shares][:SHOWN]
    begin, strip = TOP + frame.plot + 46, 18
    height = begin + strip * len(shown) + 8
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="learning curves and stages">']
    parts += _scales(frame, metric)
    for n in sorted(range(len(trials)), key=lambda n: ORDER.index(kinds[n])):
        parts += _curve(trials[n], kinds[n], frame)
    for row, n in enumerate(shown):
        y = begin + strip * row
        parts.append(_label(LEFT - 8, y + 12, trials[n].name, "end", f"name {kinds[n]}"))
        parts += _strip(trials[n], frame, y, strip - 3)
        if trials[n].score is not None:
            parts.append(_label(frame.x(trials[n].step) + 6, y + 12, f"{trials[n].score:.3f}", "start"))
    return _markup([*parts, "</svg>"])


def _scales(frame: Frame, metric: str) -> list[str]:
    parts = []
    for tick in _ticks(frame.low, frame.high):
        y = frame.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_label(LEFT - 8, y + 4, f"{tick:.4g}", "end"))
    below = TOP + frame.plot + 18
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_label(frame.x(share * frame.steps), below, f"{round(share * frame.steps)}", "middle"))
    return [*parts, _label(frame.right + 24, below, "steps", "start"), _label(LEFT, TOP - 4, metric, "start", "name")]


def _curve(trial: Trial, kind: str, frame: Frame) -> list[str]:
    points = [(frame.x(step), frame.y(score)) for step, score in trial.history]
    title = f"<title>{_text(trial.name)}: {trial.status}</title>"
    dots = [f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.6">{title}</circle>' for x, y in points]
    return [f'<polyline class="line {kind}" points="{_points(points)}">{title}</polyline>', *dots]


def _strip(trial: Trial, frame: Frame, y: float, height: float) -> list[str]:
    """The stages of one trial: between two reports, a column whose parts are the shares, easy on top."""
    parts, before = [], 0
    for step, *shares in trial.shares:
        x, width, reached = frame.x(before), frame.x(step) - frame.x(before), 0.0
        for stage, share in zip(STAGES, shares, strict=True):
            if share > 0:
                title = f"<title>{_text(trial.name)}, steps {before} to {step}: {stage} {100 * share:.0f} %</title>"
                parts.append(f'<rect class="{stage}" x="{x:.1f}" y="{y + height * reached:.1f}" width="{width:.1f}" '
                             f'height="{height * share:.1f}">{title}</rect>')  # fmt: skip
            reached += share
        before = step
    return parts


def _ends(scores: Sequence[float]) -> tuple[float, float]:
    """Ends of the score axis: a little beyond what was measured."""
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends: 3 to 8 of them."""
    raw = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _label(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="label {kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(text)}</text>'


def _text(text: Any) -> str:
    from markupsafe import escape

    return str(escape(str(text)))


def _markup(parts: list[str]) -> Markup:
    from markupsafe import Markup

    return Markup("".join(parts))

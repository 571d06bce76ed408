"""Drawings of a run's curves: SVG without script, in the page's own colours, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medclm.train.views import STAGES

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 520, 210
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 26
Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], label: str, low: float | None = None, high: float | None = None) -> Markup:
    """One curve a series over the steps.

    Args:
        series: CSS class (easy, medium, hard, main, other) or ``class:name`` to its (step, value) points.
        label: what is drawn, for readers who do not see it.
        low, high: ends of the value axis; the data's own where None.
    """
    from markupsafe import Markup, escape

    values = [y for points in series.values() for _, y in points] or [0.0, 1.0]
    ends = (min(values) if low is None else low, max(values) if high is None else high)
    ends = ends if ends[1] > ends[0] else (ends[0] - 0.5, ends[1] + 0.5)
    last = max((x for points in series.values() for x, _ in points), default=1.0) or 1.0
    parts = [_open(label)]
    for value in (ends[0], (ends[0] + ends[1]) / 2, ends[1]):
        y = _y(value, ends)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="label" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for key, points in series.items():
        kind, _, name = key.partition(":")
        path = " ".join(f"{_x(x, last):.1f},{_y(min(max(y, ends[0]), ends[1]), ends):.1f}" for x, y in points)
        title = f"<title>{escape(name or kind)}</title>"
        parts.append(f'<polyline class="line {escape(kind)}" points="{path}">{title}</polyline>')
        if len(points) == 1:
            parts.append(
                f'<circle class="dot {escape(kind)}" cx="{path.split(",")[0]}" cy="{path.split(",")[1]}" r="3"/>'
            )
    return Markup("".join([*parts, _steps(last), "</svg>"]))


def shares(windows: Sequence[tuple[float, Mapping[str, float]]], label: str) -> Markup:
    """Stacked shares of the stages: one column a window.

    Args:
        windows: (step at the window's end, stage to a count or share), in order.
    """
    from markupsafe import Markup

    last = windows[-1][0] if windows else 1.0
    parts, before = [_open(label)], 0.0
    for step, found in windows:
        total, reached = sum(found.values()) or 1.0, 0.0
        x, wide = _x(before, last), _x(step, last) - _x(before, last)
        for stage in STAGES:
            share = found.get(stage, 0.0) / total
            y = _y(reached + share, (0.0, 1.0))
            high = _y(reached, (0.0, 1.0)) - y
            parts.append(
                f'<rect class="{stage}" x="{x:.2f}" width="{wide + 0.3:.2f}" y="{y:.2f}" height="{high:.2f}"/>'
            )
            reached += share
        before = step
    return Markup("".join([*parts, _steps(last), "</svg>"]))


def _open(label: str) -> str:
    from markupsafe import escape

    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'


def _steps(last: float) -> str:
    y = HEIGHT - 8
    return (
        f'<text class="label" x="{LEFT}" y="{y}">0</text>'
        f'<text class="label" x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">step {last:g}</text>'
    )


def _x(step: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / last


def _y(value: float, ends: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ends[0]) / (ends[1] - ends[0])

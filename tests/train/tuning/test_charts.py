"""The drawings: where a value lies, and that the SVG is well formed."""

from __future__ import annotations

from xml.etree import ElementTree

from medclm.train.tuning.charts import _ends, _ticks, curves, list_axis, number_axis, parallel
from medclm.train.tuning.trials import Trial

SVG = "{http://www.w3.org/2000/svg}"


def trial(name: str, status: str = "finished") -> Trial:
    shares = ((40, 1.0, 0.0, 0.0), (80, 0.0, 0.25, 0.75))
    return Trial(name, {}, status, 80, 0.5, ((40, 0.25), (80, 0.5)), shares)


def drawn(markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(markup).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_places_on_an_axis():
    assert number_axis("a", [1, 2, 3, None], (1, 3)).places == (0.0, 0.5, 1.0, None)
    assert number_axis("a", [0.01, 0.1, 1], (0.01, 1), log=True).places == (0.0, 0.5, 1.0)
    assert number_axis("a", [5, 0], (1, 3)).places == (1.0, 0.0), "outside is drawn at the end"
    assert number_axis("a", [2, 2], (2, 2)).places == (0.0, 0.0)
    axis = list_axis("a", [3e-3, 1e-3], [3e-3, 1e-3])
    assert (axis.places, axis.low, axis.high) == ((1.0, 0.0), "0.001", "0.003"), "numbers are put in order"
    assert list_axis("a", ["kl", "mass"], ["mass", "kl"]).places == (1.0, 0.0)


def test_ticks_are_round_and_few():
    assert [round(tick, 6) for tick in _ticks(0.23, 0.57)] == [0.3, 0.4, 0.5]
    assert _ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert _ends([0.5, 0.5]) == (0.45, 0.55)


def test_parallel_coordinates_have_a_line_a_trial_the_best_on_top():
    axes = [number_axis("x & y", [1, 2], (1, 2)), number_axis("score", [0.2, None], (0, 1))]
    tree = drawn(parallel(axes, ["best", "failed"], ["<t0>", "t1"]))
    lines = tree.findall(f"{SVG}polyline")
    assert [line.get("class") for line in lines] == ["line failed", "line best"]
    assert lines[1].find(f"{SVG}title").text == "<t0>: x & y 1, score 0.2"
    assert len(lines[0].get("points").split()) == 1, "a trial without a score has no point there"


def test_curves_and_stage_strips():
    tree = drawn(curves([trial("t0"), trial("t1", "stopped")], ["best", "stopped"], 80, "accuracy"))
    assert len(tree.findall(f"{SVG}polyline")) == 2
    assert len(tree.findall(f"{SVG}circle")) == 4
    strips = [
        (one.get("class"), float(one.get("width")), float(one.get("height"))) for one in tree.findall(f"{SVG}rect")
    ]
    assert [name for name, _, _ in strips] == ["easy", "medium", "hard"] * 2
    half = strips[0][1]
    assert strips[:3] == [("easy", half, 15.0), ("medium", half, 3.8), ("hard", half, 11.2)]

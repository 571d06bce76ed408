"""Two evaluations on the same questions: does one do better, and where. Paired, by image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medclm import storage
from medclm.errors import UsageError
from medclm.eval.pages import bar, interval, percent, pvalue, render_page, signed
from medclm.eval.scorers import PUBLISHED, SPLIT_BY_CLOSED
from medclm.eval.stats import bootstrap, paired_permutation
from medclm.eval.summary import GROUPS

SHOWN = 20
"""Questions shown that one run got right and the other did not, for each of the two."""
_SAME = ("question", "reference", "image_id")


def compare_runs(first: str | Path, second: str | Path, scorer: str = "strict", seed: int = 0) -> dict[str, Any]:
    """Compares two runs on the questions that both have a score for.

    Args:
        first, second: what ``medclm eval`` wrote: OUT, or its predictions.parquet. Leads are the second's.
        scorer: "strict" or one of the published definitions; those that are two numbers are compared as two.

    Returns:
        ``first``, ``second``; ``benchmarks`` by name: ``parts`` ("all", or "open" and "closed") with both means, the
        lead, its interval, the p-value of "no lead" and counts of questions won and lost; ``by_type``, ``by_organ``,
        ``by_modality`` (strict: all; else none); ``unpaired``: questions that only one run has a score for;
        ``won``, ``lost``: examples.

    Raises:
        UsageError: a run is missing, the scorer is unknown, no question is in both, or a question's text or reference
            differs: they are then not runs of the same benchmark.
    """
    column = "correct" if scorer == "strict" else scorer
    if scorer != "strict" and scorer not in PUBLISHED:
        raise UsageError("unknown scorer", got=scorer, expected=", ".join(("strict", *PUBLISHED)))
    one, two = _rows(first), _rows(second)
    shared = [key for key in one if key in two]
    if not shared:
        raise UsageError("the two runs share no question", where=f"{first} and {second}")
    for key in shared:
        _check_same(one[key], two[key], key)
    benchmarks = {}
    for name in dict.fromkeys(key[0] for key in shared):
        pairs = [(one[key], two[key]) for key in shared if key[0] == name]
        scored = [(a, b) for a, b in pairs if a[column] is not None and b[column] is not None]
        every = {key for key in (*one, *two) if key[0] == name}
        benchmarks[name] = _benchmark(scored, column, scorer, seed) | {"unpaired": len(every) - len(scored)}
    return {"first": str(first), "second": str(second), "scorer": scorer, "seed": seed, "benchmarks": benchmarks}


Pair = tuple[dict[str, Any], dict[str, Any]]


def _benchmark(pairs: Sequence[Pair], column: str, scorer: str, seed: int) -> dict[str, Any]:
    if scorer in SPLIT_BY_CLOSED:
        parts = {"open": [p for p in pairs if not p[0]["closed"]], "closed": [p for p in pairs if p[0]["closed"]]}
    else:
        parts = {"all": list(pairs)}
    found: dict[str, Any] = {"parts": {name: _lead(part, column, seed) for name, part in parts.items()}}
    for group in GROUPS:
        kinds = sorted({a[group] for a, _ in pairs if a[group]}) if scorer not in SPLIT_BY_CLOSED else []
        found[f"by_{group}"] = {k: _lead([p for p in pairs if p[0][group] == k], column, seed) for k in kinds}
    found["won"] = [_example(a, b) for a, b in pairs if b[column] > a[column]][:SHOWN]
    found["lost"] = [_example(a, b) for a, b in pairs if b[column] < a[column]][:SHOWN]
    return found


def _lead(pairs: Sequence[Pair], column: str, seed: int) -> dict[str, Any]:
    a, b = (np.array([float(pair[side][column]) for pair in pairs]) for side in (0, 1))
    images = [pair[0]["image_id"] for pair in pairs]
    return {
        "first": bootstrap(a, images, seed).as_dict(),
        "second": bootstrap(b, images, seed).as_dict(),
        "lead": bootstrap(b - a, images, seed).as_dict(),
        "p_value": paired_permutation(b, a, images, seed) if len(pairs) else None,
        "won": int((b > a).sum()),
        "lost": int((b < a).sum()),
    }


def _example(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "type", "question", "reference")
    return {name: a[name] for name in names} | {"first": a["answer"], "second": b["answer"]}


def _rows(run: str | Path) -> dict[tuple[str, str], dict[str, Any]]:
    import pyarrow.parquet as pq

    file = str(run) if str(run).endswith(".parquet") else storage.join(run, "predictions.parquet")
    if not storage.exists(file):
        raise UsageError("this is no evaluation", where=run, expected="predictions.parquet", remedy="run medclm eval")
    columns = ["benchmark", "id", *_SAME, *GROUPS, "closed", "answer", "correct", *PUBLISHED]
    table = pq.read_table(io.BytesIO(storage.read_bytes(file)))
    if missing := [name for name in columns if name not in table.column_names]:
        raise UsageError(
            "the predictions are not those of this version's medclm eval", where=file, got=f"no {', '.join(missing)}"
        )
    return {(row["benchmark"], row["id"]): row for row in table.select(columns).to_pylist()}


def _check_same(a: dict[str, Any], b: dict[str, Any], key: tuple[str, str]) -> None:
    for name in _SAME:
        if a[name] != b[name]:
            raise UsageError(
                f"the two runs differ in the {name} of a question: they are not of the same benchmark",
                where=" ".join(key), expected=a[name], got=b[name],
            )  # fmt: skip


def write_comparison(out: str | Path, result: dict[str, Any]) -> None:
    """Writes OUT/compare.json and OUT/compare.html."""
    page = render_page("compare.html.jinja", title="Comparison of two runs", result=result, bar=bar)
    storage.write_atomic(storage.join(out, "compare.html"), page.encode())
    storage.publish_json(storage.join(out, "compare.json"), result)


def print_comparison(result: dict[str, Any], out: str | Path | None) -> None:
    """A table for each benchmark in the terminal."""
    from medclm import terminal

    for name, benchmark in result["benchmarks"].items():
        rows = {}
        for part, found in benchmark["parts"].items():
            means = f"{percent(found['first']['value'])} → {percent(found['second']['value'])}"
            rows[f"{part} ({found['lead']['n']} questions)"] = means
            rows[f"{part}: lead, 95 %"] = f"{signed(found['lead']['value'])}  ({interval(found['lead'])})"
            rows[f"{part}: p, won, lost"] = f"{pvalue(found['p_value'])}, {found['won']}, {found['lost']}"
        for kind, found in benchmark["by_type"].items():
            rows[kind] = f"{signed(found['lead']['value'])}  (n {found['lead']['n']}, {pvalue(found['p_value'])})"
        rows["scored in one run only"] = str(benchmark["unpaired"])
        terminal.table(f"{name}, {result['scorer']}", rows)
    if out is not None:
        terminal.out.print(f"Written: {storage.join(out, 'compare.html')}", soft_wrap=True)

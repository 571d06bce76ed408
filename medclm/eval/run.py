"""An evaluation: a source of answers, some benchmarks, and what is written about them.

::

    OUT/eval.json             every number, with intervals, controls, settings and versions
    OUT/predictions.parquet   one row a question (medclm.eval.rows.SCHEMA); `--model` takes it again
    OUT/report.html           the same to look at, with pictures
"""

from __future__ import annotations

import importlib.metadata
import io
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from medclm import __version__, storage
from medclm.errors import UsageError
from medclm.eval.benchmarks import Benchmark, load_benchmark
from medclm.eval.rows import CONTROLS, SCHEMA, ask
from medclm.eval.sources import Progress, open_source
from medclm.eval.summary import headline, summarise_rows

FORMAT_VERSION = 1
MAX_NEW_TOKENS = 256


def evaluate(
    model_dir: str | Path,
    benchmarks: Sequence[str],
    out: str | Path,
    limit: int | None = None,
    seed: int = 0,
    mode: Literal["reason", "answer"] = "reason",
    batch_size: int = 16,
    controls: bool | Sequence[str] = True,
    predictor: Any = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluates a model and writes eval.json, predictions.parquet and report.html.

    Args:
        model_dir: an exported model directory, or a predictions file (.parquet, .jsonl).
        benchmarks: ``NAME:DIR`` texts.
        out: directory to write.
        limit: at most this many questions of each benchmark, drawn by ``seed``.
        seed: of the draw, the shuffled images and the resampling.
        mode: "reason" has the model explain before it answers, "answer" has it answer at once.
        controls: True for all of "majority", "blank", "shuffled", False for none, or the names of those wanted.
        predictor: used in place of loading ``model_dir``: anything with ``predict(list[Request])`` and ``info``.
        progress: called with (done, total, what).

    Returns:
        What eval.json holds: ``benchmarks`` (by name, see :func:`medclm.eval.summary.summarise_rows`), ``summary``
        (the headline numbers by name), ``model``, ``decoding``, ``seed``, ``limit``, ``seconds``, ``software``.

    Raises:
        UsageError: an unknown benchmark or control, a missing directory or model.
    """
    from medclm.eval.report import write_report

    began = time.perf_counter()
    if not benchmarks:
        raise UsageError("no benchmark was named", remedy="give at least one --benchmark NAME:DIR")
    wanted = _wanted_controls(controls)
    loaded = _named([load_benchmark(spec, limit, seed) for spec in benchmarks])
    source = open_source(model_dir, predictor)
    rows: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    model_seconds = 0.0
    for benchmark in loaded:
        asked, notes, seconds = ask(source, benchmark, mode, batch_size, wanted, seed, progress)
        model_seconds += seconds
        rows += asked
        about = {"directory": benchmark.directory, "splits_by": benchmark.splits_by}
        results[benchmark.name] = about | {"notes": [*benchmark.notes, *notes]} | summarise_rows(asked, seed)
    result = {
        "format_version": FORMAT_VERSION,
        "model": {"path": str(model_dir), **source.info},
        "scorer": "strict",
        "decoding": {"mode": mode, "strategy": "greedy", "max_new_tokens": MAX_NEW_TOKENS, "batch_size": batch_size},
        "seed": seed,
        "limit": limit,
        "summary": {name: headline(benchmark) for name, benchmark in results.items()},
        "benchmarks": results,
        "seconds": {"model": round(model_seconds, 2), "total": round(time.perf_counter() - began, 2)},
        "software": software(),
    }
    _write_rows(out, rows)
    write_report(out, result, rows, loaded, seed)
    storage.publish_json(storage.join(out, "eval.json"), result)
    return result


def _wanted_controls(controls: bool | Sequence[str]) -> tuple[str, ...]:
    if isinstance(controls, bool):
        return CONTROLS if controls else ()
    if unknown := sorted(set(controls) - set(CONTROLS)):
        raise UsageError("unknown control", got=", ".join(unknown), expected=", ".join(CONTROLS))
    return tuple(controls)


def _named(loaded: list[Benchmark]) -> list[Benchmark]:
    """Benchmarks under distinct names: a second folder of one kind is called by its folder, "medclm (other)"."""
    import dataclasses

    named: list[Benchmark] = []
    for benchmark in loaded:
        name, taken = benchmark.name, {other.name for other in named}
        if name in taken:
            name = f"{name} ({Path(benchmark.directory).name})"
        if name in taken:
            raise UsageError("two benchmarks are the same", got=f"{benchmark.name}:{benchmark.directory}")
        named.append(dataclasses.replace(benchmark, name=name))
    return named


def _write_rows(out: str | Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    storage.write_atomic(storage.join(out, "predictions.parquet"), buffer.getvalue())


def software() -> dict[str, str]:
    """Versions of what makes the numbers."""
    names = ("torch", "transformers", "peft", "numpy", "scipy", "pillow", "pyarrow")
    return {"medclm": __version__, "python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }

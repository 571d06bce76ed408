"""An evaluation: a source of answers, some benchmarks, and what is written about them.

::

    OUT/answers/…             every reply as it came in; an evaluation that is run again goes on from there
    OUT/eval.json             every number, with intervals, controls, settings and versions; written last
    OUT/predictions.parquet   one row a question (medclm.eval.rows.SCHEMA); `--model` and `medclm compare` take it
    OUT/report.html           the same to look at, with pictures
"""

from __future__ import annotations

import importlib.metadata
import io
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medclm import __version__, storage
from medclm.config import EvalConfig
from medclm.errors import UsageError
from medclm.eval.answering import MASK, answer_all, variants_of
from medclm.eval.asks import Key, make_plan
from medclm.eval.benchmarks import Benchmark, load_benchmark
from medclm.eval.endpoint import Endpoint
from medclm.eval.replies import Reply
from medclm.eval.rows import CONTROLS, SCHEMA, make_rows
from medclm.eval.sources import Progress, open_source
from medclm.eval.summary import headline, summarise_rows

FORMAT_VERSION = 2


def evaluate(
    model: str | Path,
    benchmarks: Sequence[str],
    out: str | Path,
    config: EvalConfig | None = None,
    predictor: Any = None,
    progress: Progress | None = None,
    endpoint: Endpoint | None = None,
    judge: Endpoint | None = None,
) -> dict[str, Any]:
    """Evaluates a model and writes eval.json, predictions.parquet and report.html.

    Args:
        model: an exported model directory, the address of an OpenAI-compatible endpoint (up to and with ``/v1``), or a
            predictions file (.parquet, .jsonl, .csv).
        benchmarks: ``NAME:DIR`` texts.
        out: directory to write. Answers that it holds already, of the same model with the same decoding to the same
            question about the same picture, are used.
        config: how it is asked.
        predictor: used in place of loading ``model``: anything with ``predict(list[Request])`` and ``info``.
        progress: called with (done, total, what).
        endpoint: how an endpoint is asked, where ``model`` is one.
        judge: an endpoint that also judges every answer (scorer E).

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
    config = config or EvalConfig()
    wanted, seed = _wanted_controls(config.controls), config.seed
    loaded = _named([load_benchmark(spec, config.limit, seed) for spec in benchmarks])
    source = open_source(
        model, config.mode, config.max_new_tokens, config.batch_size, predictor, config.actors, endpoint
    )
    judging = _open_judge(judge)
    variants, said = variants_of(source, wanted)
    plan = make_plan(loaded, variants, seed, apart=not source.sees_images, attend=config.attention and source.inside)
    decoding = _decoding(config)
    answered = answer_all(source, plan, decoding | {"attention": config.attention}, str(out), progress)
    notes = {name: [*plan_notes, *said] for name, plan_notes in plan.notes.items()}
    ran = [name for name in wanted if name == "majority" or name in variants]
    rows, results = _results(loaded, answered.replies, ran, notes)
    judged = judging(rows) if judging else None
    for benchmark in loaded:
        own = [row for row in rows if row["benchmark"] == benchmark.name]
        results[benchmark.name] |= summarise_rows(own, seed)
    result = {
        "format_version": FORMAT_VERSION,
        "model": {"path": str(model), **source.info},
        "scorer": "strict",
        "decoding": decoding,
        "controls": list(wanted),
        "seed": seed,
        "limit": config.limit,
        "judge": judged,
        "summary": {name: headline(benchmark) for name, benchmark in results.items()},
        "benchmarks": results,
        "asks": {"asked": answered.asked, "kept": answered.kept, "shared": answered.shared},
        "seconds": {"model": round(answered.seconds, 2), "total": round(time.perf_counter() - began, 2)},
        "software": software(),
    }
    _write_rows(out, rows)
    write_report(out, result, rows, loaded, seed)
    storage.publish_json(storage.join(out, "eval.json"), result)
    return result


def _decoding(config: EvalConfig) -> dict[str, Any]:
    """What an answer depends on besides the model and the question."""
    return {
        "mode": config.mode,
        "strategy": "greedy",
        "max_new_tokens": config.max_new_tokens,
        "batch_size": config.batch_size,
    }


def _results(
    loaded: Sequence[Benchmark], replies: dict[Key, Reply], controls: Sequence[str], notes: dict[str, list[str]]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows of all benchmarks, and by benchmark what is not a number."""
    rows: list[dict[str, Any]] = []
    results: dict[str, dict[str, Any]] = {}
    for benchmark in loaded:

        def reply_of(item: str, variant: str, name: str = benchmark.name) -> Reply | None:
            return replies.get((name, item, variant))

        own, more = make_rows(benchmark, reply_of, controls)
        rows += own
        about = {"directory": benchmark.directory, "splits_by": benchmark.splits_by}
        results[benchmark.name] = about | {"notes": [*benchmark.notes, *notes[benchmark.name], *more]}
    return rows, results


def _open_judge(judge: Endpoint | None) -> Any:
    """A function that judges rows, with its endpoint reached; None without a judge."""
    if judge is None:
        return None
    from medclm.eval.endpoint import Chat
    from medclm.eval.judge import judge_rows

    chat = Chat(judge)
    return lambda rows: judge_rows(chat, rows)


def _wanted_controls(controls: bool | Sequence[str]) -> tuple[str, ...]:
    known = (*CONTROLS, MASK)
    if isinstance(controls, bool):
        return known if controls else ()
    if unknown := sorted(set(controls) - set(known)):
        raise UsageError("unknown control", got=", ".join(unknown), expected=", ".join(known))
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
    names = ("torch", "transformers", "peft", "ray", "torchmetrics", "numpy", "scipy", "pillow", "pyarrow")
    return {"medclm": __version__, "python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }

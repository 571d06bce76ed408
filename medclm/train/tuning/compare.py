"""Is what was found better? Both configurations are trained again and asked the same held-out test questions.

The seeds of these runs are others than the search's, and no trial was chosen by the test questions. A question's score
is its mean over the seeds; questions about one image go together in the interval and the test (medclm.eval.stats).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from medclm.config import EvalConfig, TrainConfig

UNTUNED, FOUND = "untuned", "found"


def compare(
    data: str, out: Path, untuned: TrainConfig, found: TrainConfig, seeds: tuple[int, ...], questions: int
) -> dict[str, Any]:
    """Trains and evaluates what is not there yet, and compares.

    Args:
        out: where the runs go: ``untuned-s1``, ``found-s1`` …, each as `medclm train` and `medclm eval` write it.
        questions: at most this many of the test split.

    Returns:
        See :func:`verdict`; ``{"same": True}`` where the untuned values were the best.
    """
    if untuned == found:
        return {"same": True, "seeds": list(seeds)}
    scores: dict[str, list[dict[str, tuple[str, bool]]]] = {UNTUNED: [], FOUND: []}
    for seed in seeds:
        for name, config in ((UNTUNED, untuned), (FOUND, found)):
            folder = out / f"{name}-s{seed}"
            scores[name].append(_answers(data, folder, config.model_copy(update={"seed": seed}), questions))
    return verdict(scores[UNTUNED], scores[FOUND], list(seeds))


def verdict(
    untuned: list[dict[str, tuple[str, bool]]], found: list[dict[str, tuple[str, bool]]], seeds: list[int]
) -> dict[str, Any]:
    """The accuracies, their difference, and whether its interval is clear of 0.

    Args:
        untuned, found: one mapping a seed: question id to (image id, correct), over the same questions.

    Returns:
        ``untuned``, ``found``, ``difference`` (value, low, high, n, clusters), ``p_value``, ``clear`` (the interval of
        the difference does not hold 0), ``seeds``, ``by_seed`` (the two accuracies of each), ``same`` (False).
    """
    import numpy as np

    from medclm.eval.stats import bootstrap, paired_permutation

    ids = sorted(untuned[0])
    images = [untuned[0][key][0] for key in ids]
    first = np.array([[run[key][1] for key in ids] for run in untuned], dtype=float)
    second = np.array([[run[key][1] for key in ids] for run in found], dtype=float)
    difference = bootstrap(second.mean(0) - first.mean(0), images)
    return {
        "same": False,
        "untuned": bootstrap(first.mean(0), images).as_dict(),
        "found": bootstrap(second.mean(0), images).as_dict(),
        "difference": difference.as_dict(),
        "p_value": paired_permutation(second.mean(0), first.mean(0), images),
        "clear": bool((difference.low or 0.0) > 0 or (difference.high or 0.0) < 0),
        "seeds": seeds,
        "by_seed": [[float(a), float(b)] for a, b in zip(first.mean(1), second.mean(1), strict=True)],
    }


def _answers(data: str, folder: Path, config: TrainConfig, questions: int) -> dict[str, tuple[str, bool]]:
    """Question id to (image id, correct) of a run that is trained and evaluated where it is not yet."""
    from medclm.eval.run import evaluate
    from medclm.train.launch import train

    table = folder / "eval" / "predictions.parquet"
    result = train(data, str(folder), config)
    if not (folder / "eval" / "eval.json").is_file():
        asked = EvalConfig(limit=questions, batch_size=32, controls=False, actors=0, attention=False)
        evaluate(result.model_dir, [f"medclm:{data}"], str(folder / "eval"), asked)
    rows = pq.read_table(table, columns=["id", "image_id", "correct"]).to_pylist()
    return {row["id"]: (row["image_id"], bool(row["correct"])) for row in rows}

"""Report text: BLEU and ROUGE of long references, by torchmetrics. For answers that are sentences, not words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medclm.eval.scorers import MAX_CHARS
from medclm.eval.stats import bootstrap

LONG = 8
"""Words that a reference has at least to count as report text."""
_ROUGE = ("rouge1", "rouge2", "rougeL")


def is_report(reference: str) -> bool:
    """Whether a reference is report text rather than a short answer."""
    return len(reference.split()) >= LONG


def text_scores(
    predictions: Sequence[str], references: Sequence[str], clusters: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """Scores of report texts, 0 to 1.

    Args:
        predictions, references: one each.
        clusters: the image of each.

    Returns:
        ``n``; ``bleu``: of the corpus, up to four words, tokenizer 13a (Papineni et al. 2002; Post 2018; lower case);
        ``rouge1``, ``rouge2``, ``rougeL``: mean F with its interval by image (Lin 2004; no stemming).
    """
    if not references:
        return {"n": 0}
    from torchmetrics.functional.text import rouge_score, sacre_bleu_score

    said = [text[:MAX_CHARS] for text in predictions]
    bleu = sacre_bleu_score(said, [[reference] for reference in references], n_gram=4, lowercase=True)
    each: dict[str, list[float]] = {name: [] for name in _ROUGE}
    for text, reference in zip(said, references, strict=True):
        scores = rouge_score(text, reference, rouge_keys=_ROUGE)
        for name in _ROUGE:
            each[name].append(float(scores[f"{name}_fmeasure"]))
    intervals = {name: bootstrap(values, clusters, seed).as_dict() for name, values in each.items()}
    return {"n": len(said), "bleu": float(bleu), **intervals}

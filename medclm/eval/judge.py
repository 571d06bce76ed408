"""Scorer E ``judged``: another model says whether an answer means what the reference means (MedEvalKit does this).

Optional: it needs an OpenAI-compatible endpoint. Faults of the definition: the number depends on the judge, its version
and its prompt (all three are in eval.json), judges favour long and confident answers, and two judges differ; never put
numbers of two judges into one column. Verdicts that cannot be read are counted and are in no score.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from medclm.eval.benchmarks import GROUNDING
from medclm.eval.endpoint import Chat, import_openai
from medclm.eval.scorers import MAX_CHARS

PROMPT = """You compare an answer to a medical question with the reference answer.
Question: {question}
Reference answer: {reference}
Given answer: {answer}
Does the given answer mean the same as the reference answer? Extra correct detail is fine, a contradiction is not.
Reply with one word: correct or incorrect."""
_VERDICT = re.compile(r"\b(in)?correct\b", re.IGNORECASE)


def judge_rows(chat: Chat, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fills ``judged`` and ``judge_reason`` of the rows that have an answer, in place.

    Returns:
        For eval.json: the judge, its prompt, how many were judged and how many verdicts could not be had.
    """
    asked = [row for row in rows if row["correct"] is not None and row["type"] != GROUNDING]
    with_text = [row for row in asked if row["answer"]]
    for row in asked:
        if not row["answer"]:
            row["judged"] = False
    asyncio.run(_judge(chat, with_text))
    lost = [row for row in with_text if row["judged"] is None]
    return {
        "judge": chat.info,
        "prompt": PROMPT,
        "judged": len(asked) - len(lost),
        "without_verdict": len(lost),
        "examples": [{"id": row["id"], "reason": row["judge_reason"]} for row in lost[:5]],
    }


async def _judge(chat: Chat, rows: Sequence[dict[str, Any]]) -> None:
    openai = import_openai()
    free = asyncio.Semaphore(chat.endpoint.concurrency)

    async def one(client: Any, row: dict[str, Any]) -> None:
        prompt = PROMPT.format(question=row["question"], reference=row["reference"], answer=row["answer"][:MAX_CHARS])
        async with free:
            try:
                text, _ = await chat.say(client, [{"role": "user", "content": prompt}], 64, "")
            except (openai.APIError, ValueError) as error:
                row["judge_reason"] = f"no verdict: {type(error).__name__}: {str(error)[:120]}"
                return
        row["judged"], row["judge_reason"] = read_verdict(text), text[:200]

    async with chat.client() as client:
        await asyncio.gather(*(one(client, row) for row in rows))


def read_verdict(text: str) -> bool | None:
    """Whether the judge says "correct"; None when it says neither or both."""
    said = {match[1] is None for match in _VERDICT.finditer(text)}
    return said.pop() if len(said) == 1 else None

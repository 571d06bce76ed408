"""The rewording actor: a question's texts are reworded together, verified one by one, and replaced where they hold."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa

from medclm.data import verify
from medclm.data.annotate import assemble
from medclm.data.batches import rows_of
from medclm.data.records import Question, Record
from medclm.data.rewrite.compare import same_facts
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.cost import check_cost, estimate
from medclm.data.rewrite.engine import Cached, make_engine
from medclm.data.rewrite.prompt import (
    Bundle,
    Messages,
    RewordRequest,
    bundle_of,
    messages_of,
    plain_messages,
    read_answer,
    read_plain,
)
from medclm.data.rewrite.protocol import Engine


@dataclass
class RewordStats:
    """Counts of texts: ``accepted``, ``unchanged`` (the model gave the template back), and refused ones by reason.

    Reasons are the codes of :func:`medclm.data.rewrite.compare.same_facts`, ``no-answer`` (the engine failed),
    ``malformed`` (no JSON of the right shape) and ``check-failed`` (the reworded question fails a check of its record).
    """

    texts: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0

    @property
    def acceptance(self) -> float:
        """Share of the texts that were reworded, 0 to 1."""
        return self.texts["accepted"] / max(self.texts.total(), 1)


class Rewriter:
    """Rewords bundles of texts by an engine and keeps what the verifier accepts."""

    def __init__(self, engine: Engine, config: RewordConfig) -> None:
        self.engine, self.config = engine, config
        self.stats = RewordStats()

    def reword(self, bundles: list[Bundle]) -> list[list[str | None]]:
        """Per bundle the new text of each request, None where the template's stays.

        Raises:
            MedclmError: the cost so far and that of these bundles is above ``max_cost``; see also ``Engine.complete``.
        """
        groups = [self._prompts(bundle) for bundle in bundles]
        prompts = [messages for group in groups for messages in group]
        self._spend(prompts)
        answers = iter(self.engine.complete(prompts, lambda n, answer: None))
        return [self._judge(b, g, list(islice(answers, len(g)))) for b, g in zip(bundles, groups, strict=True)]

    def _prompts(self, bundle: Bundle) -> list[Messages]:
        if self.config.together:
            return [messages_of(bundle)]
        return [plain_messages(request) for request in bundle.requests]

    def _spend(self, prompts: list[Messages]) -> None:
        if not (self.config.price_per_million_in or self.config.price_per_million_out):
            return
        known = self.engine.known(prompts) if isinstance(self.engine, Cached) else [None] * len(prompts)
        sent = [messages for messages, answer in zip(prompts, known, strict=True) if answer is None]
        found = estimate(sent, self.config.price_per_million_in, self.config.price_per_million_out)
        limit = self.config.max_cost
        check_cost(found, None if limit is None else limit / self.config.actors - self.stats.cost)
        self.stats.cost += found.cost

    def _judge(self, bundle: Bundle, prompts: list[Messages], answers: list[str | None]) -> list[str | None]:
        """The texts that hold: ``answers`` has one for all requests, or one each, as ``prompts`` has."""
        count = len(bundle.requests)
        if self.config.together:
            (answer,) = answers
            found = read_answer(answer, count) if answer is not None else None
            texts: list[str | None] = [None] * count if found is None else list(found)
            answers, prompts = answers * count, prompts * count
        else:
            texts = [read_plain(answer) if answer is not None else None for answer in answers]
        for messages, answer, text in zip(prompts, answers, texts, strict=True):
            if text is None and answer is not None and isinstance(self.engine, Cached):
                self.engine.forget(messages)
            if text is None:
                self.stats.texts["no-answer" if answer is None else "malformed"] += 1
        return [self._accepted(request, text) for request, text in zip(bundle.requests, texts, strict=True)]

    def _accepted(self, request: RewordRequest, text: str | None) -> str | None:
        if text is None:
            return None
        if text == request.text:
            self.stats.texts["unchanged"] += 1
            return None
        problem = same_facts(request.text, text, request.context)
        self.stats.texts["accepted" if problem is None else problem.partition(":")[0]] += 1
        return text if problem is None else None


class Reword:
    """Actor: takes and gives tables of :class:`medclm.data.annotate.Annotate`'s columns (``batch_format="pyarrow"``).

    Columns out: those in, with ``record``'s questions reworded, and ``reworded`` (JSON of the counts of the whole
    batch on its first row, ``{}`` on the others).
    """

    def __init__(self, config: RewordConfig) -> None:
        self.config = config
        self.rewriter = Rewriter(make_engine(config), config)

    @property
    def stats(self) -> RewordStats:
        return self.rewriter.stats

    def __call__(self, table: pa.Table) -> pa.Table:
        batch = rows_of(table)
        records = [assemble(batch, row)[0] for row in range(len(batch["index"]))]
        work: list[tuple[int, int, Bundle]] = []
        for row, record in enumerate(records):
            for n, question in enumerate(record.questions if record else ()):
                assert record is not None
                if (bundle := bundle_of(record, question, self.config.steps)) is not None:
                    work.append((row, n, bundle))
        before = Counter(self.stats.texts)
        found = self.rewriter.reword([bundle for _, _, bundle in work])
        texts = list(batch["record"])
        for row, record in enumerate(records):
            mine = {n: (bundle, new) for (at, n, bundle), new in zip(work, found, strict=True) if at == row}
            if record is not None and mine:
                texts[row] = self._written(record, batch["record"][row], mine)
        change = self.stats.texts - before
        counts = [json.dumps(change if row == 0 else {}, sort_keys=True) for row in range(len(records))]
        table = table.set_column(table.column_names.index("record"), "record", pa.array(texts, pa.string()))
        return table.append_column("reworded", pa.array(counts, pa.string()))

    def _written(self, record: Record, text: str, found: dict[int, tuple[Bundle, list[str | None]]]) -> str:
        """The record's JSON with its new questions; nothing else of it changes."""
        if not any(text is not None for _, new in found.values() for text in new):
            return text
        questions = list(record.questions)
        for n, (bundle, new) in found.items():
            if any(text is not None for text in new):
                questions[n] = self._applied(record, questions[n], bundle, new)
        document = json.loads(text)
        document["questions"] = [question.model_dump(mode="json") for question in questions]
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    def _applied(self, record: Record, question: Question, bundle: Bundle, new: list[str | None]) -> Question:
        """``question`` with the accepted texts, or as it was where the whole then fails a check."""
        head, *steps = new
        reasoning = list(question.reasoning)
        for at, text in zip(bundle.step_indices, steps, strict=True):
            if text is not None:
                reasoning[at] = reasoning[at].model_copy(update={"text": text})
        update = {
            "question": f"{head}{bundle.tail}" if head is not None else question.question,
            "reasoning": tuple(reasoning),
            "generator": self.rewriter.engine.name,
        }
        changed = question.model_copy(update=update)
        checks, problem = verify.check(record, changed)
        if problem is not None:
            lost = sum(text is not None for text in new)
            self.stats.texts["accepted"] -= lost
            self.stats.texts["check-failed"] += lost
            return question
        return changed.model_copy(update={"checks": checks})

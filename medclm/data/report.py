"""The report of a built dataset: what it holds, how balanced it is, and whether it can be trusted.

``DIR/report.json`` and ``DIR/report.html``. The checks are the ones a reviewer would make first: no patient and no
picture in two splits, yes and no in balance, findings linked to an organ, and how far an answer without looking gets.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medclm import storage
from medclm.data.records import UNCLEAR, Record
from medclm.data.shards import read_manifest, read_records

NO_SHARE = (0.4, 0.75)
"""The share of "no" among yes/no answers lies between these: METHOD section 1 gives the lower one."""
MAX_UNCLEAR_SHARE = 0.1
"""More findings than this without a clear host organ is worth a look."""
_ORDER = {"train": 0, "validate": 1, "test": 2}
TOP_ANSWERS = 12
EXAMPLES = 5


@dataclass
class _Tally:
    """What one pass over the records gathers. Holds counters and ids, never pictures."""

    splits: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    findings: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    patients: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    pictures: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    answers: dict[str, dict[str, Counter]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Counter)))
    normal_images: int = 0

    def add(self, record: Record) -> None:
        split = record.split or "none"
        self.splits[split].update(images=1, findings=len(record.findings), questions=len(record.questions))
        self.patients[record.patient_id].add(split)
        self.normal_images += not record.findings
        for finding in record.findings:
            self.findings["label"][finding.label] += 1
            self.findings["organ"][finding.organ or UNCLEAR] += 1
            self.findings["side"][finding.side or "none"] += 1
            self.findings["zone"][finding.zone or "none"] += 1
        for question in record.questions:
            self.answers[question.type][split][question.answer.strip().lower()] += 1
        if record.image is not None:
            digest = hashlib.sha256(record.image.bytes).hexdigest()
            self.pictures[digest].append((record.image_id, split))


def build_report(directory: str | Path) -> dict[str, Any]:
    """Reads a built dataset once and writes its report.json and report.html.

    Returns:
        ``splits`` (images, patients, findings, questions of each), ``images_without_finding``; ``findings`` (counts by
        label, organ, side, zone; ``unclear`` with count and share); ``questions`` (by type: count, most frequent
        answers); ``yes_no``; ``blind_accuracy`` (majority answer of the training split on the held-out ones, by type
        and over all); ``duplicates`` (pictures with equal bytes); ``patients_in_several_splits``; ``rejected`` (by
        reason); ``checks`` (name, ok, what was found); ``content_hash`` of the manifest.

    Raises:
        UsageError: no finished dataset. MedclmError: a shard is broken.
    """
    directory = str(directory)
    manifest = read_manifest(directory)
    tally = _Tally()
    for record in read_records(directory):
        tally.add(record)
    report: dict[str, Any] = {
        "content_hash": manifest["content_hash"],
        "splits": _splits(tally),
        "images_without_finding": tally.normal_images,
        "findings": _findings(tally),
        "questions": _questions(tally),
        "yes_no": _yes_no(tally),
        "blind_accuracy": _blind_accuracy(tally),
        "duplicates": _duplicates(tally),
        "patients_in_several_splits": _leaked(tally),
        "rejected": _rejected(directory),
    }
    report["checks"] = _checks(report)
    storage.publish_json(storage.join(directory, "report.json"), report)
    storage.write_atomic(storage.join(directory, "report.html"), _page(directory, report).encode())
    return report


def _splits(tally: _Tally) -> dict[str, dict[str, int]]:
    patients = Counter(split for splits in tally.patients.values() for split in splits)
    return {
        split: {"images": counts["images"], "patients": patients[split], "findings": counts["findings"]}
        | {"questions": counts["questions"]}
        for split, counts in sorted(tally.splits.items(), key=lambda pair: (_ORDER.get(pair[0], 3), pair[0]))
    }


def _findings(tally: _Tally) -> dict[str, Any]:
    total = tally.findings["label"].total()
    unclear = tally.findings["organ"][UNCLEAR]
    counts = {f"by_{key}": _ranked(tally.findings[key]) for key in ("label", "organ", "side", "zone")}
    return {"count": total, **counts, "unclear": {"count": unclear, "share": unclear / total if total else 0.0}}


def _ranked(counts: Counter, most: int | None = None) -> dict[str, int]:
    """Counts, largest first and equal ones by name. (In JSON files keys are sorted: rank by value there.)"""
    ranked = sorted(((key, n) for key, n in counts.items() if n), key=lambda pair: (-pair[1], pair[0]))
    return dict(ranked[:most])


def _questions(tally: _Tally) -> dict[str, Any]:
    found = {}
    for kind, splits in sorted(tally.answers.items()):
        answers: Counter = sum(splits.values(), Counter())
        found[kind] = {
            "count": answers.total(),
            "distinct_answers": len(answers),
            "answers": _ranked(answers, TOP_ANSWERS),
        }
    return found


def _yes_no(tally: _Tally) -> dict[str, Any]:
    """Over all questions of every type that are answered by yes or no."""
    counts = Counter({"yes": 0, "no": 0})
    for splits in tally.answers.values():
        for answers in splits.values():
            counts.update({word: answers[word] for word in ("yes", "no")})
    return {**counts, "no_share": counts["no"] / counts.total() if counts.total() else None}


def _blind_accuracy(tally: _Tally) -> dict[str, Any]:
    """Accuracy of the training split's most frequent answer, without a look at the image, on the other splits.

    Where a dataset has no training split or nothing else, its own answers are used and ``in_sample`` says so.
    """
    seen = {split for splits in tally.answers.values() for split in splits}
    in_sample = "train" not in seen or seen == {"train"}
    by_type: dict[str, Any] = {}
    for kind, splits in sorted(tally.answers.items()):
        train = sum(splits.values(), Counter()) if in_sample else splits.get("train", Counter())
        held_out: Counter = sum((c for s, c in splits.items() if in_sample or s != "train"), Counter())
        answer = next(iter(_ranked(train)), "")
        n = held_out.total()
        by_type[kind] = {"answer": answer, "n": n, "accuracy": held_out[answer] / n if n else None}
    right = sum(round(entry["accuracy"] * entry["n"]) for entry in by_type.values() if entry["n"])
    n = sum(entry["n"] for entry in by_type.values())
    return {"accuracy": right / n if n else None, "n": n, "in_sample": in_sample, "by_type": by_type}


def _duplicates(tally: _Tally) -> dict[str, Any]:
    groups = sorted(sorted(group) for group in tally.pictures.values() if len(group) > 1)
    across = [group for group in groups if len({split for _, split in group}) > 1]
    return {
        "groups": len(groups),
        "images": sum(len(group) for group in groups),
        "groups_across_splits": len(across),
        "examples": [[image for image, _ in group] for group in (across or groups)[:EXAMPLES]],
    }


def _leaked(tally: _Tally) -> dict[str, Any]:
    leaked = sorted(patient for patient, splits in tally.patients.items() if len(splits) > 1)
    return {"count": len(leaked), "examples": leaked[:EXAMPLES]}


def _rejected(directory: str) -> dict[str, int]:
    """What was set aside, by reason, counted from the lines of DIR/rejected/*.jsonl."""
    counts: Counter = Counter()
    for file in storage.list_files(storage.join(directory, "rejected"), "*.jsonl"):
        lines: Iterable[str] = storage.read_bytes(file).decode().splitlines()
        counts.update(json.loads(line)["reason"] for line in lines if line.strip())
    return _ranked(counts)


def _checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    leaked, duplicates = report["patients_in_several_splits"]["count"], report["duplicates"]
    no_share, unclear = report["yes_no"]["no_share"], report["findings"]["unclear"]["share"]
    blind = report["blind_accuracy"]["accuracy"]

    def check(name: str, ok: bool, found: str) -> dict[str, Any]:
        return {"name": name, "ok": ok, "found": found}

    return [
        check("no patient in two splits", leaked == 0, f"{leaked} patients"),
        check(
            "no picture in two splits", duplicates["groups_across_splits"] == 0,
            f"{duplicates['groups_across_splits']} pictures; {duplicates['groups']} repeat within splits or across",
        ),
        check(
            f"{NO_SHARE[0]:.0%} to {NO_SHARE[1]:.0%} of yes/no answers are no",
            no_share is None or NO_SHARE[0] <= no_share <= NO_SHARE[1],
            "no yes/no questions" if no_share is None else f"{no_share:.1%} are no",
        ),
        check(
            f"at most {MAX_UNCLEAR_SHARE:.0%} of findings without a clear organ", unclear <= MAX_UNCLEAR_SHARE,
            f"{unclear:.1%}",
        ),
        check(
            "an answer without looking is mostly wrong", blind is None or blind < 0.5,
            "no questions" if blind is None else f"{blind:.1%} right",
        ),
    ]  # fmt: skip


def _page(directory: str, report: dict[str, Any]) -> str:
    from medclm.data.anatomy import organ_text
    from medclm.eval.pages import bar, render_page

    return render_page(
        "data_report.html.jinja",
        title="Dataset report",
        name=directory.rstrip("/").rpartition("/")[2] or directory,
        report=report,
        bar=bar,
        organ_text=organ_text,
        total={key: sum(split[key] for split in report["splits"].values()) for key in ("images", "questions")},
    )

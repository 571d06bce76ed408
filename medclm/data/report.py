"""The report of a built dataset: what it holds, how balanced it is, and whether it can be trusted.

``DIR/report.json`` and ``DIR/report.html``. The checks are the ones a reviewer would make first: no patient and no
picture in two splits, yes and no in balance, findings linked to an organ, every label known, and how far an answer
without looking gets.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from medclm import storage
from medclm.data.agreement import LinkingTally
from medclm.data.blind import BlindTally
from medclm.data.card import write_card
from medclm.data.records import UNCLEAR
from medclm.data.shards import parts_of, read_manifest, read_records
from medclm.data.tally import AREA_BINS, SPLIT_ORDER, Tally, balance, ranked

NO_SHARE = (0.4, 0.75)
"""The share of "no" among yes/no answers lies between these: METHOD section 1 gives the lower one."""
MAX_UNCLEAR_SHARE = 0.1
"""More findings than this without a clear host organ is worth a look."""
MAX_GAIN = 0.1
"""More than this over the majority answer, and the wording of the questions gives answers away."""
MIN_BLIND = 50
"""With fewer held-out questions the gain over the majority is chance."""
TOP_ANSWERS = 12
EXAMPLES = 5
REJECT_EXAMPLES = 3
LONGEST_DETAIL = 200


def build_report(directory: str | Path, seed: int = 0) -> dict[str, Any]:
    """Reads a built dataset once, writes its report.json and report.html, and puts the main figures into its card.

    Args:
        directory: a built dataset, any fsspec address.
        seed: of the sample and the classifier of :mod:`medclm.data.blind`.

    Returns:
        ``splits`` (images, patients, findings, questions of each) and ``images`` (with boxes, with labels without a
        place, without finding, by modality and view); ``findings`` (counts by label, organ, side, zone and area;
        ``unclear``); ``labels`` (image-level ones, absent ones, ``unknown`` to the vocabulary); ``questions`` (by type:
        count, most frequent answers, difficulty); ``difficulty``, ``choices``, ``generators``; ``yes_no``; ``balance``
        (:func:`medclm.data.tally.balance` of each); ``blind_accuracy`` (:class:`medclm.data.blind.BlindTally`);
        ``linking`` (:class:`medclm.data.agreement.LinkingTally`); ``segmenters``; ``duplicates`` and
        ``near_duplicates`` (:class:`medclm.data.duplicates.PictureIndex`); ``patients_in_several_splits``; ``rejected``
        (by reason) and ``rejected_examples``; ``checks`` (name, ok, what was found); ``content_hash``.

    Raises:
        UsageError: no finished dataset. MedclmError: a shard is broken.
    """
    directory = str(directory)
    manifest = read_manifest(directory)
    config = manifest["build"].get("config", {})
    findings = sum(manifest["counts"].get("findings", {}).values())
    tally = Tally(BlindTally(seed), LinkingTally(findings, config.get("min_coverage", 0.5)))
    for record in read_records(directory):
        tally.add(record)
    report: dict[str, Any] = {
        "content_hash": manifest["content_hash"],
        "built_with": {key: config[key] for key in ("segmenter", "linking", "min_coverage", "seed") if key in config},
        "splits": _splits(tally),
        "images": _images(tally),
        "findings": _findings(tally),
        "labels": {name: ranked(tally.counts[key]) for name, key in _LABELS.items()},
        "questions": _questions(tally),
        "difficulty": dict(sorted(ranked(_difficulty(tally)).items())),
        "choices": dict(sorted(ranked(tally.counts["choices"]).items(), key=lambda pair: int(pair[0]))),
        "generators": ranked(tally.counts["generator"]),
        "yes_no": _yes_no(tally),
        "balance": {key: balance(tally.counts[key]) for key in ("label", "organ", "side", "zone", "type")},
        "blind_accuracy": tally.blind.accuracy(),
        "linking": tally.linking.summary(),
        "segmenters": _segmenters(tally),
        "duplicates": tally.pictures.exact(),
        "near_duplicates": tally.pictures.near(),
        "patients_in_several_splits": _leaked(tally),
        **_rejected(directory),
    }
    report["checks"] = _checks(report)
    storage.publish_json(storage.join(directory, "report.json"), report)
    storage.write_atomic(storage.join(directory, "report.html"), _page(directory, report).encode())
    if "joined" not in manifest["build"]:  # it holds no rows to publish; each of its parts has a card
        write_card(directory, manifest, report)
    return report


_LABELS = {"of_the_image": "labels", "absent": "labels_absent", "unknown": "unknown_labels"}


def _splits(tally: Tally) -> dict[str, dict[str, int]]:
    patients = Counter(split for splits in tally.patients.values() for split in splits)
    return {
        split: {"images": counts["images"], "patients": patients[split], "findings": counts["findings"]}
        | {"questions": counts["questions"]}
        for split, counts in sorted(tally.splits.items(), key=lambda pair: (SPLIT_ORDER.get(pair[0], 3), pair[0]))
    }


def _images(tally: Tally) -> dict[str, Any]:
    known = tally.counts["images"]
    return {
        "with_boxes": known["with boxes"],
        "labels_without_place": known["labels without a place"],
        "without_finding": known["without finding"],
        "with_prior": tally.counts["images with an earlier one"]["n"],
        "by_modality": ranked(tally.counts["modality"]),
    }


def _findings(tally: Tally) -> dict[str, Any]:
    total = tally.counts["label"].total()
    unclear = tally.counts["organ"][UNCLEAR]
    counts: dict[str, Any] = {f"by_{key}": ranked(tally.counts[key]) for key in ("label", "organ", "side", "zone")}
    counts["by_area"] = {name: tally.counts["area"][name] for _, name in AREA_BINS}
    return {"count": total, **counts, "unclear": {"count": unclear, "share": unclear / total if total else 0.0}}


def _questions(tally: Tally) -> dict[str, Any]:
    found = {}
    for kind, splits in sorted(tally.blind.answers.items()):
        answers: Counter = sum(splits.values(), Counter())
        found[kind] = {
            "count": answers.total(),
            "distinct_answers": len(answers),
            "answers": ranked(answers, TOP_ANSWERS),
            "difficulty": {str(level): n for level, n in sorted(tally.difficulty[kind].items())},
        }
    return found


def _difficulty(tally: Tally) -> Counter:
    return sum(tally.difficulty.values(), Counter())


def _yes_no(tally: Tally) -> dict[str, Any]:
    """Over all questions of every type that are answered by yes or no."""
    counts = Counter({"yes": 0, "no": 0})
    for splits in tally.blind.answers.values():
        for answers in splits.values():
            counts.update({word: answers[word] for word in ("yes", "no")})
    return {**counts, "no_share": counts["no"] / counts.total() if counts.total() else None}


def _segmenters(tally: Tally) -> dict[str, dict[str, int]]:
    """Images and organs that each source segmented; ``none`` counts images without any organ."""
    images, organs = tally.counts["images_by_source"], tally.counts["organs_by_source"]
    return {source: {"images": n, "organs": organs[source]} for source, n in ranked(images).items()}


def _leaked(tally: Tally) -> dict[str, Any]:
    leaked = sorted(patient for patient, splits in tally.patients.items() if len(splits) > 1)
    return {"count": len(leaked), "examples": leaked[:EXAMPLES]}


def _rejected(directory: str) -> dict[str, Any]:
    """What was set aside, counted and with the first examples of each reason, from DIR/rejected/*.jsonl."""
    counts: Counter = Counter()
    examples: dict[str, list[dict[str, str]]] = {}
    files = [
        file for part in parts_of(directory) for file in storage.list_files(storage.join(part, "rejected"), "*.jsonl")
    ]
    for file in files:
        for line in storage.read_bytes(file).decode().splitlines():
            reject = json.loads(line)
            counts[reject["reason"]] += 1
            shown = examples.setdefault(reject["reason"], [])
            if len(shown) < REJECT_EXAMPLES:
                shown.append({"image_id": reject["image_id"], "detail": reject["detail"][:LONGEST_DETAIL]})
    return {"rejected": ranked(counts), "rejected_examples": dict(sorted(examples.items()))}


def _checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    leaked, same, alike = (report[key] for key in ("patients_in_several_splits", "duplicates", "near_duplicates"))
    no_share, unclear = report["yes_no"]["no_share"], report["findings"]["unclear"]["share"]
    unknown, blind = report["labels"]["unknown"], report["blind_accuracy"]["accuracy"]

    def check(name: str, ok: bool, found: str) -> dict[str, Any]:
        return {"name": name, "ok": ok, "found": found}

    return [
        check("no patient in two splits", leaked["count"] == 0, f"{leaked['count']} patients"),
        check(
            "no picture in two splits", same["groups_across_splits"] == 0,
            f"{same['groups_across_splits']} pictures; {same['groups']} repeat within splits or across",
        ),
        check(
            "no look-alike of a picture in another split", alike["groups_across_splits"] == 0,
            f"{alike['groups_across_splits']} groups across splits, {alike['groups_across_patients']} across patients",
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
        check("every label is in the vocabulary", not unknown, ", ".join(list(unknown)[:EXAMPLES]) or "all known"),
        check(
            "an answer without looking is mostly wrong", blind is None or blind < 0.5,
            "no questions" if blind is None else f"{blind:.1%} right",
        ),
        check(f"the wording gives away at most {MAX_GAIN:.0%}", *_gives_away(report["blind_accuracy"]["text_only"])),
    ]  # fmt: skip


def _gives_away(text_only: dict[str, Any] | None) -> tuple[bool, str]:
    """Whether the text-only classifier stays near the majority answer, and what was found."""
    if text_only is None or text_only["n"] < MIN_BLIND:
        return True, f"fewer than {MIN_BLIND} held-out questions: cannot be told"
    gain = text_only["accuracy"] - text_only["majority_accuracy"]
    return gain <= MAX_GAIN, f"{100 * gain:+.1f} points over the majority answer, without the picture"


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

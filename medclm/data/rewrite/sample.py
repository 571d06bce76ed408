"""What rewording a whole dataset would cost, told from its first images before anything is sent."""

from __future__ import annotations

from medclm.data.annotate import Annotate
from medclm.data.decode import decode_record
from medclm.data.images import encode_png
from medclm.data.records import Image, Record
from medclm.data.rewrite.config import RewordConfig
from medclm.data.rewrite.cost import Estimate, estimate
from medclm.data.rewrite.prompt import Messages, bundle_of, messages_of, plain_messages

SAMPLE = 8
"""Images that the estimate is made from."""


def estimate_dataset(rows: list[str], annotate: Annotate, window: str, config: RewordConfig) -> Estimate:
    """The cost of rewording every row, from the questions of the first ones (asked without organ masks).

    Args:
        rows: JSON of planned records.
        annotate: of the build.
        window: see :func:`medclm.data.images.render`.
        config: prices, and what is reworded.
    """
    sampled = rows[:SAMPLE]
    prompts = [m for row in sampled for m in _prompts(Record.model_validate_json(row), annotate, window, config)]
    found = estimate(prompts, config.price_per_million_in, config.price_per_million_out)
    return found.scaled(len(rows) / max(len(sampled), 1))


def _prompts(record: Record, annotate: Annotate, window: str, config: RewordConfig) -> list[Messages]:
    decoded = decode_record(record, window, keep_text=True)
    if decoded.reject:
        return []
    height, width = decoded.shown.shape[:2]
    image = Image(bytes=encode_png(decoded.shown), format="png", width=width, height=height, window=decoded.window)
    linked = annotate.linked(decoded.record.model_copy(update={"image": image}), decoded.values, {}, "none")
    asked, _ = annotate.asked(linked, complete=True)
    bundles = [bundle_of(asked, question, config.steps) for question in asked.questions]
    if config.together:
        return [messages_of(bundle) for bundle in bundles if bundle]
    return [plain_messages(request) for bundle in bundles if bundle for request in bundle.requests]

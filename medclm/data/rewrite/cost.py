"""What rewording will cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from medclm.data.rewrite.prompt import Messages
from medclm.errors import MedclmError

CHARS_PER_TOKEN = 4.0
"""Where no tokenizer is given: English text has about four characters a token."""
PER_MESSAGE = 4
"""Tokens that a chat format adds to a message."""


@dataclass(frozen=True)
class Estimate:
    """Requests, tokens in and out, and the cost in the currency of the prices."""

    requests: int
    tokens_in: int
    tokens_out: int
    cost: float

    def scaled(self, factor: float) -> Estimate:
        """The estimate of ``factor`` times as many requests."""
        requests, tokens_in, tokens_out = (round(n * factor) for n in (self.requests, self.tokens_in, self.tokens_out))
        return Estimate(requests, tokens_in, tokens_out, self.cost * factor)

    def __str__(self) -> str:
        tokens = f"about {self.tokens_in:,} tokens in and {self.tokens_out:,} out"
        return f"{self.requests:,} requests, {tokens}: {self.cost:.2f}"


def estimate(
    prompts: Iterable[Messages],
    price_per_million_in: float,
    price_per_million_out: float,
    count_tokens: Callable[[str], int] | None = None,
) -> Estimate:
    """The cost of prompts that no cache answers.

    Args:
        prompts: what would be sent. An answer is taken to be as long as the last message, which it rewords.
        price_per_million_in: of tokens sent.
        price_per_million_out: of tokens answered.
        count_tokens: tokens of a text, by the model's tokenizer; None: one every :data:`CHARS_PER_TOKEN` characters.
    """
    count = count_tokens or (lambda text: -(-len(text) // int(CHARS_PER_TOKEN)))
    requests = tokens_in = tokens_out = 0
    for messages in prompts:
        requests += 1
        tokens_in += sum(count(message["content"]) + PER_MESSAGE for message in messages)
        tokens_out += count(messages[-1]["content"])
    cost = (tokens_in * price_per_million_in + tokens_out * price_per_million_out) / 1e6
    return Estimate(requests, tokens_in, tokens_out, cost)


def check_cost(found: Estimate, max_cost: float | None) -> None:
    """
    Raises:
        MedclmError: the estimate is above ``max_cost`` (None: no limit).
    """
    if max_cost is not None and found.cost > max_cost:
        raise MedclmError(
            "rewording would cost more than allowed",
            expected=f"at most {max_cost:.2f} (reword.max_cost)",
            got=str(found),
            remedy="raise reword.max_cost, reword fewer questions, or turn reword.steps off",
        )

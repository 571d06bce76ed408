"""The conversation that a model was taught: the text around pictures, a question and an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclm.errors import MedclmError

if TYPE_CHECKING:
    from medclm.train.families import Family

_QUESTION, _TARGET = "\u2060question\u2060", "\u2060target\u2060"


@dataclass(frozen=True)
class Template:
    """The fixed texts of a conversation.

    Attributes:
        pieces: before the first picture, between pictures, and after the last up to the question.
        middle: between the question and the assistant's words.
        after: what ends the assistant's turn; never empty.
    """

    pieces: tuple[str, ...]
    middle: str
    after: str


def render(processor: Any, family: Family, pictures: int) -> Template:
    """The conversation of ``family`` around so many pictures.

    Raises:
        MedclmError: there is no chat template, or it does not put the pictures before the question.
    """
    chat = family.chat or _by_template
    text = chat(processor, pictures, _QUESTION, _TARGET)
    before, asked, rest = text.partition(_QUESTION)
    middle, answered, after = rest.partition(_TARGET)
    pieces = before.split(processor.image_token)
    if not (asked and answered) or len(pieces) != pictures + 1:
        raise MedclmError(
            "the chat template does not put the pictures before the question",
            expected=f"{pictures} times {processor.image_token!r}, then the question, then the answer",
            got=text,
            remedy="change chat_template of the base model's processor",
        )
    return Template((_begin(processor.tokenizer, pieces[0]), *pieces[1:]), middle, _end(processor.tokenizer, after))


def _by_template(processor: Any, pictures: int, question: str, answer: str) -> str:
    if not (processor.chat_template or processor.tokenizer.chat_template):
        raise MedclmError(
            "the base model's processor has no chat template",
            expected="chat_template.jinja beside processor_config.json",
            remedy="copy the template of the model that it was made from",
        )
    return processor.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "image"}] * pictures + [{"type": "text", "text": question}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
    )


def _begin(tokenizer: Any, text: str) -> str:
    """``text``, led by the token that the tokenizer puts before every text, where it does."""
    first = tokenizer("x")["input_ids"][:1]
    leads = tokenizer.bos_token is not None and first == [tokenizer.bos_token_id]
    return tokenizer.bos_token + text if leads and not text.startswith(tokenizer.bos_token) else text


def _end(tokenizer: Any, after: str) -> str:
    """The end of the turn; the end token where the template writes none, so that an answer's end is learnt."""
    return after.strip() or tokenizer.eos_token

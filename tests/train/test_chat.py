import pytest

from medclm.errors import MedclmError
from medclm.train.chat import render
from medclm.train.families import FAMILIES
from tests.train.tiny_families import CHAT, SPECIAL, tokenizer_of


class Processor:
    """As much of a processor as a conversation needs."""

    image_token = "<image>"

    def __init__(self, template, bos=False):
        self.chat_template, self.tokenizer = template, tokenizer_of(SPECIAL, image_token="<image>")
        if bos:  # as Llama's tokenizer, which puts <s> before every text
            from tokenizers.processors import TemplateProcessing

            start = self.tokenizer.bos_token
            self.tokenizer._tokenizer.post_processor = TemplateProcessing(
                single=f"{start} $A", special_tokens=[(start, self.tokenizer.bos_token_id)]
            )

    def apply_chat_template(self, messages):
        return self.tokenizer.apply_chat_template(messages, chat_template=self.chat_template, tokenize=False)


def test_the_texts_around_pictures():
    template = render(Processor(CHAT.replace("IMAGE", "<image>")), FAMILIES["llava"], 2)
    assert template.pieces == ("<|im_start|>user\n", "\n", "\n")
    assert template.middle == "<|im_end|>\n<|im_start|>assistant\n"
    assert template.after == "<|im_end|>"


PLAIN = (
    "{% for m in messages %}{{ 'USER: <image>\n' if m['role'] == 'user' else ' ASSISTANT: ' }}"
    "{{ m['content'][-1]['text'] }}{% endfor %}"
)


def test_an_answer_always_ends_and_a_text_begins_as_the_tokenizer_wants():
    template = render(Processor(PLAIN, bos=True), FAMILIES["llava"], 1)
    assert template.pieces == ("<|im_start|>USER: ", "\n")
    assert template.after == "<|im_end|>"
    assert render(Processor(PLAIN), FAMILIES["llava"], 1).pieces[0] == "USER: "


@pytest.mark.parametrize(
    ("template", "message"),
    [(None, "no chat template"), (CHAT.replace("IMAGE", ""), "does not put the pictures before the question")],
)
def test_templates_that_cannot_be_used(template, message):
    with pytest.raises(MedclmError, match=message) as error:
        render(Processor(template), FAMILIES["llava"], 1)
    assert error.value.details["remedy"]


def test_paligemma_has_no_turns():
    template = render(Processor(None), FAMILIES["paligemma"], 1)
    assert template.pieces == ("", "<|im_start|>")
    assert (template.middle, template.after) == ("\n", "<|im_end|>")

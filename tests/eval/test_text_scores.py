import pytest

from medclm.eval.text_scores import is_report, text_scores

REFERENCE = "the heart is normal in size and the lungs are clear"


def test_only_long_references_are_reports():
    assert is_report(REFERENCE)
    assert not is_report("left lower lobe")


def test_rouge_and_bleu_by_hand():
    found = text_scores([REFERENCE, "the heart is large"], [REFERENCE, REFERENCE], ["a", "b"])
    # second: 3 of its 4 words are among the 11: P 3/4, R 3/11, F 0.4; bigrams 2 of 3 and of 10: F 4/13
    assert found["rouge1"]["value"] == pytest.approx((1 + 0.4) / 2)
    assert found["rouge2"]["value"] == pytest.approx((1 + 4 / 13) / 2)
    assert found["rougeL"]["value"] == pytest.approx((1 + 0.4) / 2)
    # corpus: precisions 14/15, 12/13, 10/11, 8/9, brevity exp(1 - 22/15)
    import math

    precisions = (14 / 15, 12 / 13, 10 / 11, 8 / 9)
    bleu = math.exp(1 - 22 / 15) * math.prod(precisions) ** 0.25
    assert found["bleu"] == pytest.approx(bleu, abs=1e-4)


def test_nothing_to_score():
    assert text_scores([], [], []) == {"n": 0}
    assert text_scores([""], [REFERENCE], ["a"])["rouge1"]["value"] == 0.0

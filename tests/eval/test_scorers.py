"""Every value here is worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclm.eval.scorers import PUBLISHED, closed_mc, exact, llava_med, llava_med_batch, strict, token_f1, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Left Lung.", ("left", "lung")),
        ("Two nodules", ("2", "nodules")),
        ("twenty-one", ("21",)),
        ("twenty zero", ("20", "0")),
        ("12.0 mm", ("12", "mm")),
        ("1,200 ml", ("1200", "ml")),
        ("-5 HU", ("-5", "hu")),
        ("3-4 cm", ("3", "4", "cm")),
        ("left-sided", ("left", "sided")),
        ("an opacity, a mass", ("opacity", "mass")),
        ("", ()),
        ("?!", ()),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("prediction", "reference", "closed", "correct"),
    [
        ("Yes.", "yes", True, True),
        ("Yes, there is a nodule", "yes", True, True),
        ("No", "yes", True, False),
        ("Not seen", "no", True, False),
        ("normal", "no", True, False),
        ("Nodule", "no", True, False),
        ("There is no nodule", "no", True, False),
        ("", "no", True, False),
        ("yes no", "no", True, False),
        ("left", "Left", True, True),
        ("the left", "left", True, True),
        ("left or right", "left", True, False),
        ("left lung", "lung, left", False, True),
        ("left", "left lung", False, False),
        ("left lung apex", "left lung", False, False),
        ("two", "2", False, True),
        ("a nodule", "nodule", False, True),
        ("no nodule", "nodule", False, False),
        ("", "nodule", False, False),
        ("-", "-", False, True),
        ("x", "-", False, False),
    ],
)
def test_strict_verdict(prediction, reference, closed, correct):
    assert strict(prediction, reference, closed).correct is correct


def test_strict_grades_open_answers_by_sets():
    # said {left, lung, apex}, right {left, lower, lung, lobe}: 2 shared
    score = strict("left lung apex left", "the left lower lung lobe", closed=False)
    assert (score.correct, score.recall, score.f1) == (False, 2 / 4, 4 / 7)


@pytest.mark.parametrize(
    ("prediction", "correct"),
    [("B", True), ("(b)", True), ("b.", True), ("B. left", True), ("B. right", False), ("A", False), ("C", False)],
)
def test_strict_takes_the_letter_of_a_choice(prediction, correct):
    assert strict(prediction, "left", True, ("right", "left")).correct is correct
    assert not strict("B", "left", True).correct  # no choices are known


def test_a_counts_the_words_of_the_prediction():
    # "left lung": one of two words found is 1/2, but saying it three times is 3 / (3 + 1)
    assert llava_med("left", "left lung", False) == 1 / 2
    assert llava_med("left left left", "left lung", False) == 3 / 4
    assert llava_med("it may be the left or right lung or heart", "left lung", False) == 1.0
    assert llava_med("", "left lung", False) == 0.0
    assert llava_med("two", "2", False) == 1.0


def test_a_reads_yes_and_no_as_substrings():
    assert llava_med("yes, it is", "yes", True) == 1.0
    assert llava_med("normal", "no", True) == 1.0
    assert llava_med("left", "left", True) == 0.0
    assert llava_med("left, not right", "left", True) == 1.0


def test_a_gives_a_perfect_predictor_85_percent_of_slake_closed():
    # SLAKE-English test has 416 closed answers, 61 of them neither yes nor no
    references = ["yes"] * 200 + ["no"] * 155 + ["left"] * 61
    scores = [llava_med(reference, reference, True) for reference in references]
    assert sum(scores) == 355
    assert round(100 * sum(scores) / len(scores), 2) == 85.34
    assert sum(llava_med_batch(reference, reference, True) for reference in references) == 416


def test_b_takes_any_text_that_holds_the_reference():
    assert llava_med_batch("yes no", "yes", True) == llava_med_batch("yes no", "no", True) == 1.0
    assert llava_med_batch("normal", "no", True) == 1.0
    assert llava_med_batch("", "no", True) == 0.0
    assert llava_med_batch("left", "left lung", False) == 1 / 2


def test_c_is_string_equality():
    assert exact(" Left Lung ", "left lung", False) == 1.0
    assert exact("left lung.", "left lung", False) == 0.0
    assert exact("two", "2", False) == 0.0


@pytest.mark.parametrize(
    ("prediction", "reference", "choices", "expected"),
    [
        ("It is on the left side", "left", ("right", "left"), 1.0),
        ("left or right", "left", ("right", "left"), 0.0),
        ("B", "left", ("right", "left"), 1.0),
        ("left lung", "lung", ("lung", "left lung"), 0.0),
        ("yes", "yes", None, 1.0),
        ("normal", "no", None, 0.0),
        ("", "no", None, 0.0),
    ],
)
def test_d_needs_exactly_one_option(prediction, reference, choices, expected):
    assert closed_mc(prediction, reference, True, choices) == expected


def test_d_says_nothing_about_open_questions():
    assert closed_mc("left", "left", False) is None


def test_f_is_f1_of_the_bags():
    # said {left: 2, lung: 1}, right {left: 1, lung: 1}: 2 shared of 3 + 2
    assert token_f1("left left lung", "left lung", False) == pytest.approx(4 / 5)
    assert token_f1("not present", "present", False) == pytest.approx(2 / 3)
    assert token_f1("", "present", False) == 0.0


def test_a_text_of_ten_thousand_words_is_scored():
    text = "lung " * 10_000
    assert strict(text, "lung", False).correct
    assert llava_med(text, "lung", False) == 1.0
    assert exact(text, "lung", False) == 0.0


@given(st.text(max_size=60), st.text(min_size=1, max_size=60), st.booleans())
def test_scores_are_shares(prediction, reference, closed):
    score = strict(prediction, reference, closed)
    assert 0 <= score.f1 <= 1
    assert 0 <= score.recall <= 1
    for scorer in PUBLISHED.values():
        value = scorer(prediction, reference, closed, None)
        assert value is None or 0 <= value <= 1


@given(st.text(max_size=60), st.booleans())
def test_the_reference_itself_is_right(text, closed):
    assert strict(text, text, closed).correct
    assert exact(text, text, closed) == 1.0


def test_chinese_is_read_character_by_character():
    assert words("左肺，12") == ("左", "肺", "12")
    assert strict("左肺。", "左肺", False).correct
    assert not strict("右肺", "左肺", False).correct
    assert strict("右肺", "左肺", False).recall == 1 / 2
    assert not strict("不是", "是", True).correct

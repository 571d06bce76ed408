import numpy as np
import pytest

from medclm.data.segmenters import check_segmenter, make_segmenter, picture_input
from medclm.errors import UsageError


def test_it_finds_nothing_in_every_picture():
    found = make_segmenter("none")([picture_input(np.zeros((4, 4), np.uint8))] * 2)
    assert found == [{}, {}]


def test_it_takes_no_argument():
    check_segmenter("none")
    with pytest.raises(UsageError, match="no argument"):
        check_segmenter("none:x")

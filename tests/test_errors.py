import pickle

from medclm.errors import MedclmError, UsageError


def test_a_message_has_a_line_for_each_known_detail():
    error = MedclmError("it broke", where="f.dcm", expected=1, remedy="mend it")
    assert str(error) == "it broke\n  where: f.dcm\n  expected: 1\n  remedy: mend it"
    assert (error.exit_code, UsageError("x", where="y").exit_code) == (1, 2)


def test_an_error_survives_the_way_from_a_ray_worker():
    error = pickle.loads(pickle.dumps(UsageError("it broke", got=[1])))
    assert (str(error), error.exit_code) == ("it broke\n  got: [1]", 2)

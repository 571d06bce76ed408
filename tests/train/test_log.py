import json

import pytest

from medclm.errors import MedclmError
from medclm.train.log import TensorBoard, _cut, read_history, tracker


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_steps_after_the_checkpoint_are_taken_out(tmp_path):
    file = tmp_path / "history.jsonl"
    lines(file, [{"kind": "numbers", "step": step} for step in (1, 2, 3)])
    _cut(file, 2)
    assert [record["step"] for record in read_history(file)] == [1, 2]


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    file = tmp_path / "history.jsonl"
    lines(file, [{"kind": "numbers", "step": 1}])
    with file.open("a") as handle:
        handle.write('{"kind": "numbers", "st')
    assert read_history(file) == [{"kind": "numbers", "step": 1}]
    assert read_history(tmp_path / "none.jsonl") == []


def test_tensorboard_reads_back_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path, 0)
    board.scalars(3, {"loss": 1.5})
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 1.5)]


def test_mlflow_is_an_extra(tmp_path):
    try:
        import mlflow  # noqa: F401
    except ImportError:
        with pytest.raises(MedclmError, match="mlflow is not installed"):
            tracker("mlflow", tmp_path, 0)

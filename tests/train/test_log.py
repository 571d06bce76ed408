import json
import sys

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


def test_mlflow_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MedclmError, match="mlflow is not installed"):
        tracker("mlflow", tmp_path, 0)


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    import mlflow

    for step in (3, 4):
        board = tracker("mlflow", tmp_path, step - 1)
        board.scalars(step, {"medium/answer": step / 2})
        board.close()
    identity = (tmp_path / "mlflow-run").read_text()
    seen = mlflow.MlflowClient().get_metric_history(identity, "medium/answer")
    assert [(metric.step, metric.value) for metric in seen] == [(3, 1.5), (4, 2.0)]
    assert mlflow.get_run(identity).info.run_name == tmp_path.name

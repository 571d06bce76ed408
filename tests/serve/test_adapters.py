"""Two adapters on one base: each says what it says alone, also while both decode."""

from __future__ import annotations

import shutil

import pytest

from medclm.errors import UsageError
from medclm.serve.adapters import Shared, Turns, base_identity
from medclm.serve.engine import Engine
from medclm.serve.predictor import Predictor, Request


def test_each_says_what_it_says_alone(adapters, picture):
    requests = [Request(picture(n), "Is there a nodule?", "answer", 12) for n in range(4)]
    alone = [[p.text for p in Predictor(folder, "cpu", 1).predict(requests)] for folder in adapters]
    assert alone[0] != alone[1]
    shared = Shared(adapters[0], "first", {"second": str(adapters[1])}, "cpu", 1)
    engines = [Engine(shared.open(name), max_rows=2) for name in ("first", "second")]
    try:
        tickets = [[e.submit(e.predictor.preparer.prepare(r)) for e in engines] for r in requests]
        found = [[pair[n].answer.result(20).text for pair in tickets] for n in (0, 1)]
    finally:
        for engine in engines:
            engine.close()
    assert found == alone
    assert shared.open("second").info["fingerprint"] == f"{2:016d}"
    shared.close("second")
    assert [p.text for p in shared.open("second").predict(requests)] == alone[1]


def test_whole_weights_with_adapters(model_dir, adapters, picture, predictor):
    request = Request(picture(1), "Is there a nodule?", "answer", 12)
    shared = Shared(model_dir, "base", {"second": str(adapters[1])}, "cpu", 1)
    adapted = shared.open("second").predict([request])[0].text
    assert shared.open("base").predict([request])[0].text == predictor.predict([request])[0].text != adapted


def test_another_base_is_refused(model_dir, adapters, tmp_path):
    other = shutil.copytree(adapters[1], tmp_path / "other")
    (other / "base" / "model.safetensors").write_bytes(b"other weights")
    assert base_identity(adapters[0]) == base_identity(adapters[1]) == base_identity(model_dir)
    with pytest.raises(UsageError, match="another base"):
        Shared(adapters[0], "first", {"other": str(other)})
    with pytest.raises(UsageError, match="no adapter export"):
        Shared(adapters[0], "first", {"other": str(model_dir)})


def test_turns_are_taken_in_the_order_of_asking():
    import threading

    turns, order = Turns(), []
    threads = []
    with turns.take():
        for n in range(5):

            def work(n=n):
                with turns.take():
                    order.append(n)

            thread = threading.Thread(target=work)
            thread.start()
            threads.append(thread)
            while len(turns._queue) < n + 2:
                pass
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]

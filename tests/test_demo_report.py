from medclm.demo_report import write_demo_report
from medclm.eval.run import evaluate
from tests.hand_dataset import RulePredictor, make_record, write_dataset


def test_page_tells_the_chain_and_the_numbers(tmp_path):
    records = [make_record(n, "train", n < 4) for n in range(6)] + [
        make_record(n, "test", n < 12) for n in range(10, 14)
    ]
    dataset = write_dataset(tmp_path / "dataset", records)
    out = tmp_path / "demo"
    full, flat = (
        evaluate("rule", [f"medclm:{dataset}"], out / name, predictor=RulePredictor())
        for name in ("eval-curriculum", "eval-flat")
    )
    summary = full["summary"]["medclm"] | {
        "flat_accuracy": 0.25,
        "images": 10,
        "seconds": {"sample": 1.5, "train": 3.0, "total": 4.5},
        "commands": ["medclm ask <x>"],
    }
    served = {
        "image_id": "im10",
        "question": "On which side?",
        "reference": "left",
        "request": {"messages": ["A" * 5000]},
        "response": {"choices": [{"message": {"content": "Answer: left"}}]},
    }
    page = write_demo_report(out, summary, full, flat, dataset, served)
    assert page == out / "report.html"
    text = page.read_text()
    for said in (
        "100.0 %", "25.0 %", "flat fine-tuning", "majority answer", "blank image", "easy view", "medium view",
        "hard view", "On which side?", "Answer: left", "(5000 characters)", "medclm ask &lt;x&gt;",
        "not a medical device", "4 s",
    ):  # fmt: skip
        assert said in text, said
    assert "A" * 500 not in text.split("base64,")[-1].split('"')[1]
    assert "<script" not in text

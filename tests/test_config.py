from __future__ import annotations

import pytest

from medclm import config
from medclm.config import BuildConfig, ServeConfig, TrainConfig
from medclm.errors import UsageError


def test_overrides_win_over_the_file_and_named_options_over_both_defaults(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("steps: 5\noptim: {lr: 1.0e-3, clip: 2.0}\n")
    loaded = config.load(TrainConfig, path, ["optim.lr=1e-4", "model.base=x"])
    assert (loaded.steps, loaded.optim.lr, loaded.optim.clip, loaded.model.base) == (5, 1e-4, 2.0, "x")
    serve = config.load(ServeConfig, None, [], model="m", port=None)
    assert (serve.model, serve.port) == ("m", 8000)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "did you mean 'optim.lr'?"),
        ("steps", "not key=value"),
        ("steps=many", "configuration key 'steps' is wrong"),
        ("steps.x=1", "goes into a value"),
        ("schedule.name=often", "configuration key 'schedule.name' is wrong"),
    ],
)
def test_a_wrong_override_is_explained(tmp_path, override, message):
    path = tmp_path / "t.yaml"
    path.write_text("steps: 5\n")
    with pytest.raises(UsageError) as caught:
        config.load(TrainConfig, path, [override])
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_key_and_a_file_that_is_no_mapping_are_named(tmp_path):
    with pytest.raises(UsageError, match="'images' is missing"):
        config.load(BuildConfig)
    (tmp_path / "l.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match="not a mapping"):
        config.load(BuildConfig, tmp_path / "l.yaml")


def test_keys_lists_every_dotted_key():
    assert {"steps", "optim", "optim.lr", "model.tiny.patch_size"} <= set(config.keys(TrainConfig))

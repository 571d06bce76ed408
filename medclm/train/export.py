"""A trained run as a Hugging Face directory: PEFT adapter beside its base, or whole weights, and ``medclm.json``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from medclm import __version__, storage
from medclm.config import TrainConfig
from medclm.errors import UsageError
from medclm.train import checkpoint
from medclm.train.model import INFO, Loaded, load_base
from medclm.train.setup import trainable

FORMAT_VERSION = 1
RUN = "run.json"


def export_run(run_dir: str | Path, to: str | Path, merge: bool = False) -> Path:
    """Writes the newest checkpoint of a run to ``to`` and returns it.

    Args:
        run_dir: the ``--out`` of a ``medclm train``.
        to: directory to write. A full fine-tune always gives whole weights.
        merge: fold a LoRA adapter into its base. Otherwise the adapter is written, with a ``tiny`` base beside it.

    Raises:
        UsageError: the directory is no run, or the run has no checkpoint yet.
    """
    run_dir, to = Path(run_dir), Path(to)
    if not (run_dir / RUN).is_file():
        raise UsageError("this is not a training run", where=run_dir, expected=f"a directory with {RUN}")
    run = json.loads((run_dir / RUN).read_text())
    config = TrainConfig.model_validate(run["config"])
    newest = newest_checkpoint(run_dir)
    loaded = load_base(base_of(run_dir, config))
    model, lora = trainable(loaded, config), config.model.finetune.startswith("lora")
    steps = checkpoint.load_weights(newest, model)
    to.mkdir(parents=True, exist_ok=True)
    base = config.model.base
    if lora and merge:
        model = model.merge_and_unload()
    elif lora and base == "tiny":
        shutil.copytree(base_of(run_dir, config), to / "base", dirs_exist_ok=True)
        base = "base"
    model.save_pretrained(to)
    loaded.processor.save_pretrained(to)
    storage.publish_json(to / INFO, _info(run, loaded, base, steps))
    return to


def newest_checkpoint(run_dir: Path) -> Path:
    """The checkpoint of the most steps.

    Raises:
        UsageError: there is none.
    """
    found = [file.parent for file in (run_dir / "checkpoints").glob("*/checkpoint_*/.metadata")]
    if not found:
        raise UsageError(
            "the run has no checkpoint",
            where=run_dir / "checkpoints",
            remedy="let `medclm train` reach checkpoint_every steps, or run it again",
        )
    return max(found, key=lambda folder: ((folder / ".metadata").stat().st_mtime, folder.name))


def base_of(run_dir: Path, config: TrainConfig) -> str:
    """Where the run's base model is: the run's own folder for ``tiny``."""
    return str(run_dir / "base") if config.model.base == "tiny" else config.model.base


def _info(run: dict[str, Any], loaded: Loaded, base: str, steps: int) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "medclm_version": __version__,
        "family": loaded.family.name,
        "base": base,
        "dtype": "float32",
        "fingerprint": run["fingerprint"],
        "box_format": loaded.family.box_format,
        "image_size": loaded.family.frame_size,
        "trained_on": run["data"]["content_hash"],
        "steps": steps,
    }

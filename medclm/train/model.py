"""The model: a base (tiny, local or from the hub), wrapped for LoRA or trained whole; and back from an export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclm.errors import MedclmError, UsageError
from medclm.train.families import Family, bind, family_of

INFO = "medclm.json"


@dataclass(frozen=True)
class Loaded:
    """A model ready to use. ``family`` is bound to ``processor``; ``info`` is ``medclm.json`` (empty for a base)."""

    model: Any
    processor: Any
    family: Family
    info: dict[str, Any]

    @property
    def grid_hw(self) -> tuple[int, int] | None:
        """(rows, columns) of image tokens by the model's config; None where it depends on the picture."""
        return self.family.image_grid(self.model.config)


def load_base(base: str, dtype: str = "float32") -> Loaded:
    """A base model from a local directory or the hub, on the CPU.

    Args:
        base: a path or a hub name (``tiny`` is made before, see :mod:`medclm.train.tiny`).
        dtype: ``float32`` or ``bfloat16``.

    Raises:
        UsageError: there is no such model. MedclmError: its family is not supported.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    family = check_base(base)
    processor = AutoProcessor.from_pretrained(base)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=getattr(torch, dtype))
    return Loaded(model, processor, bind(family, processor), {})


def check_base(base: str) -> Family:
    """The family of a base model, not yet bound. Reads its config only.

    Raises:
        UsageError: there is no such model. MedclmError: its family is not supported.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise UsageError(
            "the base model cannot be loaded",
            where=base,
            expected="tiny, a directory with config.json, or a hub name",
            got=str(error).splitlines()[0],
            remedy="check model.base",
        ) from error
    return family_of(config.model_type)


def freeze_vision(model: Any, family: Family) -> None:
    """Stops gradients into the vision tower, in place."""
    for name, parameter in model.named_parameters():
        if family.part_of(name) == "vision":
            parameter.requires_grad_(False)


def add_lora(model: Any, family: Family, rank: int, alpha: int, dropout: float, targets: str | None = None) -> Any:
    """``model`` with LoRA adapters on the family's modules; everything else is frozen.

    Raises:
        MedclmError: no module matches the targets.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets or family.lora_targets)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        names = [name for name, module in model.named_modules() if type(module).__name__ == "Linear"]
        raise MedclmError(
            "the LoRA targets match no module of the model",
            got=targets or family.lora_targets,
            expected=f"a pattern over names such as {', '.join(names[:3])}",
        ) from error


def load_exported(directory: str | Path, device: str = "auto") -> Loaded:
    """A model that :mod:`medclm.train.export` wrote, in evaluation mode.

    Args:
        directory: holds ``medclm.json``, the processor, and merged weights or a PEFT adapter.
        device: ``auto`` (CUDA where there is any), or a torch device.

    Raises:
        UsageError: the directory is no exported model.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    place = Path(directory)
    if not (place / INFO).is_file():
        raise UsageError(
            "this is not an exported model",
            where=place,
            expected=f"a directory with {INFO}",
            remedy="give the `model` folder of a finished `medclm train`, or run `medclm export`",
        )
    info = json.loads((place / INFO).read_text())
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if (place / "adapter_config.json").is_file():
        from peft import PeftModel

        base = place / info["base"] if (place / info["base"]).is_dir() else info["base"]
        model = PeftModel.from_pretrained(load_base(str(base), info["dtype"]).model, str(place)).merge_and_unload()
    else:
        model = AutoModelForImageTextToText.from_pretrained(place, dtype=getattr(torch, info["dtype"]))
    processor = AutoProcessor.from_pretrained(place)
    return Loaded(model.to(device).eval(), processor, bind(family_of(model.config.model_type), processor), info)

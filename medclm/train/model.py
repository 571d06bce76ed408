"""The model: a base (tiny, local or from the hub), wrapped for LoRA or trained whole; and back from an export."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclm.errors import MedclmError, UsageError
from medclm.train.families import FAMILIES, Family, Part, bind, family_of

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


def add_lora(
    model: Any,
    family: Family,
    rank: int,
    alpha: int,
    dropout: float,
    targets: str | None = None,
    whole_projector: bool = False,
) -> Any:
    """``model`` with LoRA adapters on the family's modules; everything else is frozen.

    Args:
        targets: regular expression over whole module names; None: the family's.
        whole_projector: train the projector itself in place of adapters on it. It is saved with the adapter.

    Raises:
        MedclmError: no module matches the targets.
    """
    from peft import LoraConfig, get_peft_model

    pattern = targets or family.lora_targets
    whole = _tops(model, family, "projector") if whole_projector else []
    linear = [name for name, module in model.named_modules() if type(module).__name__ == "Linear"]
    inside = tuple(f"{name}." for name in whole)
    if not any(re.fullmatch(pattern, name) for name in linear if name not in whole and not name.startswith(inside)):
        raise MedclmError(
            "the LoRA targets match no module of the model",
            where=f"family {family.name}",
            got=pattern,
            expected=f"a regular expression over whole names such as {', '.join(_examples(linear, family))}",
            remedy="correct the targets, or leave them out to take the family's",
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=pattern,
        exclude_modules=rf"({'|'.join(map(re.escape, whole))})(\..*)?" if whole else None,
        modules_to_save=whole or None,
    )
    return get_peft_model(model, config)


def _tops(model: Any, family: Family, part: Part) -> list[str]:
    """Names of the topmost modules of a part that own or hold parameters; a list of modules counts as its members."""
    import torch

    found: list[str] = []
    for name, module in model.named_modules():
        lists = isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict))
        below = any(name.startswith(f"{top}.") for top in found)
        holds = next(module.parameters(), None) is not None
        if name and holds and not lists and not below and family.part_of(name) == part:
            found.append(name)
    return found


def _examples(names: list[str], family: Family) -> list[str]:
    language = [name for name in names if family.part_of(name) == "language"]
    return (language or names)[:3]


def set_trainable(model: Any, family: Family, vision: bool, projector: bool, language: bool) -> dict[Part, int]:
    """Switches gradients of the model's parts on and off, in place.

    Of a model with LoRA only the adapters and what is saved whole with them can be switched on: the base stays frozen.

    Returns:
        For each part the number of its parameters that are trained now.

    Raises:
        MedclmError: nothing would be trained.
    """
    wanted: dict[Part, bool] = {"vision": vision, "projector": projector, "language": language}
    counts: dict[Part, int] = dict.fromkeys(wanted, 0)
    adapted = hasattr(model, "peft_config")
    for name, parameter in model.named_parameters():
        part = family.part_of(name)
        free = not adapted or ".lora_" in name or ".modules_to_save." in name
        parameter.requires_grad_(wanted[part] and free)
        counts[part] += parameter.numel() if parameter.requires_grad else 0
    if not any(counts.values()):
        raise MedclmError(
            "no parameter of the model would be trained",
            got=", ".join(f"{part} {'on' if on else 'off'}" for part, on in wanted.items()),
            expected="at least one part that is trained, and with LoRA one that adapters wrap",
            remedy="switch a part on",
        )
    return counts


def parameter_groups(model: Any, family: Family, rates: dict[Part, float], weight_decay: float) -> list[dict[str, Any]]:
    """The trained parameters as an optimizer's groups: each part at its rate; matrices decay, vectors do not.

    Args:
        rates: learning rate of ``vision``, ``projector`` and ``language``.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and ``part``; empty ones are left out.
    """
    groups: dict[tuple[Part, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((family.part_of(name), parameter.ndim >= 2), []).append(parameter)
    return [
        {"params": found, "lr": rates[part], "weight_decay": weight_decay if decays else 0.0, "part": part}
        for (part, decays), found in sorted(groups.items())
    ]


def load_family(directory: str | Path) -> Family:
    """The family of an exported model, bound to its processor; no weights are read."""
    from transformers import AutoProcessor

    info = json.loads((Path(directory) / INFO).read_text())
    return bind(FAMILIES[info["family"]], AutoProcessor.from_pretrained(directory))


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

"""The families of base models that work (METHOD section 7), one table entry each."""

from __future__ import annotations

from medclm.errors import MedclmError
from medclm.train.families.base import Family, Frame, Part, bind
from medclm.train.families.gemma import GEMMA3, PALIGEMMA
from medclm.train.families.idefics import IDEFICS3
from medclm.train.families.internvl import INTERNVL
from medclm.train.families.llava import LLAVA
from medclm.train.families.onevision import LLAVA_ONEVISION
from medclm.train.families.qwen import QWEN2_5_VL, QWEN2_VL, QWEN3_VL

__all__ = ["FAMILIES", "Family", "Frame", "Part", "bind", "family_of"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        IDEFICS3, LLAVA, LLAVA_ONEVISION, QWEN2_VL, QWEN2_5_VL, QWEN3_VL, INTERNVL, GEMMA3, PALIGEMMA,
    )
}  # fmt: skip
"""By name."""


def family_of(model_type: str) -> Family:
    """The family of a ``config.model_type``, not yet bound.

    Raises:
        MedclmError: the family is unknown; the message lists the known ones.
    """
    for family in FAMILIES.values():
        if model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES.values() for name in family.model_types)
    raise MedclmError(
        "this kind of base model is not supported",
        where=f"model_type {model_type!r} in config.json",
        got=model_type,
        expected=f"one of: {known}",
        remedy="choose another base model, or add its family to medclm/train/families",
    )

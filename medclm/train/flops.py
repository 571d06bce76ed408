"""The arithmetic of a training step, for the MFU (Chowdhery et al. 2022, appendix B), vision tower included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medclm.train.families import Family

PEAK_TFLOPS = {
    "H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0,
    "V100": 125.0, "B200": 2250.0,
}  # fmt: skip
"""Dense bfloat16 (V100: float16) peak of one device, from the vendor's data sheets; by a part of the device's name."""


@dataclass(frozen=True)
class Cost:
    """What a token and a picture cost.

    Attributes:
        per_token: operations of the language model's matrices for one token, forward and backward.
        per_token_pair: the same of attention, for one token and one token that it looks at.
        per_picture: of the vision tower and projector.
    """

    per_token: float
    per_token_pair: float
    per_picture: float

    def of(self, tokens: list[int], pictures: int) -> float:
        """Operations of one batch: ``tokens`` per example, without padding; attention is causal."""
        pairs = sum(length * (length + 1) / 2 for length in tokens)
        return self.per_token * sum(tokens) + self.per_token_pair * pairs + self.per_picture * pictures


def cost_of(model: Any, family: Family, patches: int) -> Cost:
    """Counts the weights of matrices: 2 operations a weight forward, 2 for the gradient of the activations, 2 for the
    gradient of the weights where they are trained. Embedding look-ups cost nothing; the output matrix is counted.

    Args:
        model: unsharded, ``requires_grad`` final.
        family: tells the vision tower's weights from the others.
        patches: that the tower sees of one picture.
    """
    text = model.config.get_text_config()
    embedding = {id(model.get_input_embeddings().weight)}
    output = model.get_output_embeddings()
    told = 0.0
    tower = 0.0
    for name, weight in model.named_parameters():
        if weight.ndim < 2 or (id(weight) in embedding and (output is None or output.weight is not weight)):
            continue
        if family.part_of(name) == "vision":
            tower += _factor(weight.requires_grad, False) * weight.numel()
        else:
            told += _factor(weight.requires_grad, True) * weight.numel()
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    pair = 3 * 4 * text.num_hidden_layers * text.num_attention_heads * head_width
    return Cost(told, float(pair), tower * patches)


def _factor(trained: bool, passed: bool) -> int:
    """Forward 2; backward to the inputs 2 where something before is trained; to the weight 2 where it is trained."""
    return 2 + 2 * (passed or trained) + 2 * trained


def peak_tflops(device: Any, given: float) -> float:
    """Of one device; ``given`` wins, 0 where it is not known (a CPU)."""
    if given:
        return given
    if getattr(device, "type", "cpu") != "cuda":
        return 0.0
    import torch

    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), 0.0)

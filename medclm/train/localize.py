"""L_loc: the supervision of the language model's attention to image tokens (METHOD section 2).

:func:`install` registers an attention function with transformers that runs SDPA as usual. A forward pass that is given
a :class:`Target` (``model(..., localize=target)``) also recomputes, for the chosen layers and heads only, softmax over
|target rows| x |image tokens| and leaves the mass inside the box in ``target.found``. Nothing is global: a pass without
a target is plain SDPA.

Shapes: E supervised examples of the batch, R rows (padded), N image tokens, H chosen heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch

    from medclm.data.records import BoxXyxy

ATTENTION = "medclm_localize"


@dataclass
class Target:
    """Where the attention of one batch should go.

    Attributes:
        examples: (E,) int64, rows of the batch that are supervised.
        rows: (E, R) int64, token positions whose attention is supervised; padding repeats position 0.
        row_mask: (E, R) bool, False at padding.
        image_index: (E, N) int64, positions of the image tokens in reading order of the grid.
        image_mask: (E, N) bool, False at padding (pictures may differ in their number of tokens).
        weights: (E, N) float32, share of the box in each patch, largest 1; 0 at padding.
        layers: decoder layers that are supervised, from 0.
        heads: query heads that are supervised; empty: all.
        form: ``mass``: (1 - mass)**2 of a row (A3Tune); ``kl``: KL(box || attention) (KLAL, arXiv 2511.12738).
        found: filled by the forward pass, (E, H, R) a layer: the loss of each row. A layer that runs again (activation
            checkpointing) writes its own entry again.
        masses: filled by the forward pass, (E, H, R) a layer: the attention inside the box, without gradient.
    """

    TENSORS: ClassVar[tuple[str, ...]] = ("examples", "rows", "row_mask", "image_index", "image_mask", "weights")

    examples: torch.Tensor
    rows: torch.Tensor
    row_mask: torch.Tensor
    image_index: torch.Tensor
    image_mask: torch.Tensor
    weights: torch.Tensor
    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    form: str = "mass"
    found: dict[int, torch.Tensor] = field(default_factory=dict)
    masses: dict[int, torch.Tensor] = field(default_factory=dict)


def install(model: Any, layers: tuple[int, ...], heads: tuple[int, ...]) -> tuple[int, ...]:
    """Switches the language model of ``model`` to the recording attention.

    Args:
        model: a transformers vision-language model, before FSDP and LoRA wrap it.
        layers: decoder layers to supervise; empty: the layer just past the middle.
        heads: query heads to supervise; checked here.

    Returns:
        The layers, filled in.

    Raises:
        MedclmError: a layer or head does not exist.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    from medclm.errors import MedclmError

    text = model.config.get_text_config()
    count, head_count = text.num_hidden_layers, text.num_attention_heads
    layers = layers or (count // 2,)
    if not all(0 <= layer < count for layer in layers) or not all(0 <= head < head_count for head in heads):
        raise MedclmError(
            "a supervised layer or head does not exist",
            where="loss.localization_layers, loss.localization_heads",
            expected=f"layers 0 to {count - 1}, heads 0 to {head_count - 1}",
            got=f"layers {layers}, heads {heads}",
        )
    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation({"text_config": ATTENTION})
    return layers


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    localize: Target | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA, and the record where ``localize`` asks. query (B, heads, L, D), key and value (B, kv heads, L, D)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if localize is not None and module.layer_idx in localize.layers:
        record(localize, module.layer_idx, query, key, kwargs.get("scaling") or query.shape[-1] ** -0.5)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def record(target: Target, layer: int, query: torch.Tensor, key: torch.Tensor, scaling: float) -> None:
    """Puts this layer's loss per row and mass per row, (E, H, R), into ``target``."""
    import torch

    heads = torch.tensor(target.heads or range(query.shape[1]), device=query.device)
    groups = query.shape[1] // key.shape[1]
    chosen_q = query[target.examples][:, heads]
    chosen_k = key[target.examples][:, torch.div(heads, groups, rounding_mode="floor")]
    width = query.shape[-1]
    rows = target.rows[:, None, :, None].expand(-1, len(heads), -1, width)
    tokens = target.image_index[:, None, :, None].expand(-1, len(heads), -1, width)
    scores = chosen_q.gather(2, rows) @ chosen_k.gather(2, tokens).transpose(-1, -2)
    scores = scores.float() * scaling
    scores = scores.masked_fill(~target.image_mask[:, None, None, :], torch.finfo(scores.dtype).min)
    log_attention = torch.log_softmax(scores, dim=-1)
    weights = target.weights[:, None, None, :]
    mass = (log_attention.exp() * weights).sum(-1)
    if target.form == "kl":
        wanted = weights / weights.sum(-1, keepdim=True)
        loss = (torch.xlogy(wanted, wanted) - wanted * log_attention).sum(-1)
    else:
        loss = (1 - mass) ** 2
    target.found[layer] = loss
    target.masses[layer] = mass.detach()


def total(target: Target) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of L_loc over rows, sum of mass over rows), means over layers and heads; scalars. Divide by the rows."""
    import torch

    mask = target.row_mask
    loss = torch.stack([found.mean(1) for found in target.found.values()]).mean(0)
    mass = torch.stack([found.mean(1) for found in target.masses.values()]).mean(0)
    return (loss * mask).sum(), (mass * mask).sum()


def patch_weights(boxes: tuple[BoxXyxy, ...], size_hw: tuple[int, int], grid_hw: tuple[int, int]) -> torch.Tensor:
    """How much of each patch the boxes cover, scaled so that the most covered patch has 1.

    Args:
        boxes: in pixels of the picture; a patch takes its largest overlap.
        size_hw: of the picture.
        grid_hw: (rows, columns) of image tokens that cover the whole picture.

    Returns:
        (rows * columns,) float32 in reading order; all 0 where no box touches the picture.
    """
    import torch

    rows, columns = grid_hw
    grid = torch.zeros(rows, columns)
    for x1, y1, x2, y2 in boxes:
        across = _overlap(x1 * columns / size_hw[1], x2 * columns / size_hw[1], columns)
        down = _overlap(y1 * rows / size_hw[0], y2 * rows / size_hw[0], rows)
        grid = torch.maximum(grid, down[:, None] * across[None, :])
    return (grid / grid.max() if grid.max() > 0 else grid).reshape(-1)


def _overlap(low: float, high: float, count: int) -> torch.Tensor:
    import torch

    cells = torch.arange(count, dtype=torch.float32)
    return (torch.clamp(cells + 1, max=high) - torch.clamp(cells, min=low)).clamp(min=0)

"""L_loc: the supervision of the language model's attention to image tokens (METHOD section 2).

:func:`install` makes a model's attention look for an :class:`Observer`: a forward pass that is given one
(``model(..., localize=target)``) runs SDPA or flash attention as usual and shows the observer each layer's queries and
keys. :class:`Target` then recomputes, for the chosen layers and heads only, softmax over |target rows| x |image
tokens|: memory grows with their product, not with the length. A pass without an observer is the plain
one.

Shapes: E supervised examples of the batch, R rows (padded), N image tokens (padded), S places to look at (padded),
H chosen heads, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch

    from medclm.data.records import BoxXyxy

ATTENTION = "medclm_localize"
Heads = tuple[int, ...] | dict[int, tuple[int, ...]]
"""Query heads: the same in every layer (empty: all of them), or for each layer its own."""


@dataclass(frozen=True)
class Seen:
    """One layer's attention: query (B, heads, L, D), key (B, kv heads, L, D), and what hides keys from queries.

    ``mask`` is (B, 1 or heads, L, L), bool (True: seen) or additive, or None: causal, within ``window`` where there is
    one (a query sees itself and ``window - 1`` keys before it).
    """

    layer: int
    query: torch.Tensor
    key: torch.Tensor
    scaling: float
    mask: torch.Tensor | None
    window: int | None


class Observer(Protocol):
    """What a forward pass may be given as ``localize``."""

    def observe(self, seen: Seen) -> None:
        """Called once for each layer, in order; again for a layer that activation checkpointing runs again."""


@dataclass
class Target:
    """Where the attention of one batch should go.

    Attributes:
        examples: (E,) int64, rows of the batch that are supervised.
        rows: (E, R) int64, token positions whose attention is supervised; padding repeats position 0.
        row_mask: (E, R) bool, False at padding.
        image_index: (E, N) int64, positions of the image tokens in reading order of the grid.
        image_mask: (E, N) bool, False at padding (pictures may differ in their number of tokens).
        weights: (E, S, N) float32, for each place of an example the share of its box in each patch, largest 1; 0 at
            padding.
        places: (E, R) int64, which of the places each row should look at.
        layers: decoder layers that are supervised, from 0.
        heads: query heads that are supervised.
        form: ``mass``: (1 - mass)**2 of a row (A3Tune); ``kl``: KL(box || attention) (KLAL, arXiv 2511.12738).
        found: filled by the forward pass, (E, H, R) a layer: the loss of each row; 0 where a row's window shows it no
            image token. A layer that runs again (activation checkpointing) writes its own entry again.
        masses: filled by the forward pass, (E, H, R) a layer: the attention inside the box, without gradient.
    """

    TENSORS: ClassVar[tuple[str, ...]] = (
        "examples", "rows", "row_mask", "image_index", "image_mask", "weights", "places",
    )  # fmt: skip

    examples: torch.Tensor
    rows: torch.Tensor
    row_mask: torch.Tensor
    image_index: torch.Tensor
    image_mask: torch.Tensor
    weights: torch.Tensor
    places: torch.Tensor
    layers: tuple[int, ...] = ()
    heads: Heads = ()
    form: str = "mass"
    found: dict[int, torch.Tensor] = field(default_factory=dict)
    masses: dict[int, torch.Tensor] = field(default_factory=dict)

    def observe(self, seen: Seen) -> None:
        """Puts the layer's loss per row and mass per row into :attr:`found` and :attr:`masses`."""
        import torch

        if seen.layer not in self.layers:
            return
        wanted = self.heads[seen.layer] if isinstance(self.heads, dict) else self.heads
        heads = torch.tensor(wanted or range(seen.query.shape[1]), device=seen.query.device)
        visible = self._visible(seen)
        scores = self._scores(seen, heads).masked_fill(~visible[:, None], torch.finfo(torch.float32).min)
        log_attention = torch.log_softmax(scores, dim=-1)
        weights = self.wanted()[:, None]
        mass = (log_attention.exp() * weights).sum(-1)
        if self.form == "kl":
            wished = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
            loss = (torch.xlogy(wished, wished) - wished * log_attention * visible[:, None]).sum(-1)
        else:
            loss = (1 - mass) ** 2
        some = visible.any(-1)[:, None]
        self.found[seen.layer] = loss * some
        self.masses[seen.layer] = (mass * some).detach()

    def wanted(self) -> torch.Tensor:
        """(E, 1 or R, N): the weights of the place of each row."""
        import torch

        if self.weights.shape[1] == 1:
            return self.weights
        return self.weights[torch.arange(len(self.weights), device=self.weights.device)[:, None], self.places]

    def _scores(self, seen: Seen, heads: torch.Tensor) -> torch.Tensor:
        """(E, H, R, N) float32, scaled. Only the rows and tokens that count are taken out of the layer's tensors."""
        import torch

        kv = torch.div(heads, seen.query.shape[1] // seen.key.shape[1], rounding_mode="floor")
        examples = self.examples[:, None, None]
        query = seen.query[examples, heads[None, :, None], self.rows[:, None, :]]
        key = seen.key[examples, kv[None, :, None], self.image_index[:, None, :]]
        return (query @ key.transpose(-1, -2)).float() * seen.scaling

    def _visible(self, seen: Seen) -> torch.Tensor:
        """(E, R, N) bool: image tokens that a row attends to at all."""
        rows, tokens = self.rows[:, :, None], self.image_index[:, None, :]
        present = self.image_mask[:, None, :].expand(-1, rows.shape[1], -1)
        if seen.mask is not None:
            cells = seen.mask[self.examples[:, None, None], 0, rows, tokens]
            return present & is_open(cells)
        return present & (rows - tokens < seen.window) if seen.window else present


def is_open(cells: torch.Tensor) -> torch.Tensor:
    """Cells of an attention mask, bool or additive, to bool: True where the key is seen."""
    return cells > -1 if cells.dtype.is_floating_point else cells


def install(model: Any, layers: tuple[int, ...], heads: Heads) -> tuple[int, ...]:
    """Makes the language model of ``model`` look for an observer.

    SDPA (and eager) models get an attention function of their own name. Any other implementation (flash attention)
    keeps its name, by which transformers chooses masks and kernels, and gets a function around its own.

    Args:
        model: a transformers vision-language model, before FSDP and LoRA wrap it.
        layers: decoder layers to supervise; empty: the layers of ``heads``, or the first layer past the middle that
            sees the whole text.
        heads: query heads to supervise; checked here.

    Returns:
        The layers, filled in.

    Raises:
        MedclmError: a layer or head does not exist, or the model caps its attention scores (Gemma 2).
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    text = model.config.get_text_config()
    layers = layers or (tuple(heads) if isinstance(heads, dict) else (_past_the_middle(text),))
    _check(text, layers, heads)
    base = text._attn_implementation
    if base in (None, "sdpa", "eager", ATTENTION):
        AttentionInterface.register(ATTENTION, observed(sdpa_attention_forward))
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation({"text_config": ATTENTION})
    else:
        AttentionInterface.register(base, observed(AttentionInterface()[base]))
    return layers


def _past_the_middle(text: Any) -> int:
    """The first layer from the middle on that has no sliding window."""
    middle = text.num_hidden_layers // 2
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    return next((n for n in range(middle, len(kinds)) if kinds[n] == "full_attention"), middle)


def _check(text: Any, layers: tuple[int, ...], heads: Heads) -> None:
    from medclm.errors import MedclmError

    if getattr(text, "attn_logit_softcapping", None):
        raise MedclmError(
            "attention with capped scores cannot be supervised",
            where="attn_logit_softcapping in the language model's config",
            got=text.attn_logit_softcapping,
            remedy="set loss.localization=0, or take another base model",
        )
    count, head_count = text.num_hidden_layers, text.num_attention_heads
    named = [head for found in heads.values() for head in found] if isinstance(heads, dict) else heads
    missing = set(layers) - set(heads) if isinstance(heads, dict) else set()
    if missing or any(not 0 <= layer < count for layer in layers) or any(not 0 <= n < head_count for n in named):
        raise MedclmError(
            "a supervised layer or head does not exist",
            where="loss.localization_layers, loss.localization_heads",
            expected=f"layers 0 to {count - 1}, heads 0 to {head_count - 1}",
            got=f"layers {layers}, heads {heads}",
            remedy="leave both empty for one layer past the middle and all its heads",
        )


def observed(base: Callable[..., Any]) -> Callable[..., Any]:
    """An attention function that shows an observer what it gets and then is ``base``."""
    if hasattr(base, "observes"):
        return base

    def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **kwargs: Any) -> Any:
        localize: Observer | None = kwargs.pop("localize", None)
        if localize is not None:
            scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
            dense = attention_mask if getattr(attention_mask, "ndim", 0) == 4 else None
            window = kwargs.get("sliding_window")
            localize.observe(Seen(module.layer_idx, query, key, scaling, dense, window))
        return base(module, query, key, value, attention_mask, *args, **kwargs)

    attention.observes = base  # type: ignore[attr-defined]
    return attention


def total(target: Target) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of L_loc over rows, sum of mass over rows), means over heads of all layers; scalars. Divide by the rows."""
    return (by_row(target.found) * target.row_mask).sum(), (by_row(target.masses) * target.row_mask).sum()


def by_row(layers: dict[int, torch.Tensor]) -> torch.Tensor:
    """(E, R): the mean over the heads of all layers of :attr:`Target.found` or :attr:`Target.masses`."""
    import torch

    return torch.cat(list(layers.values()), dim=1).mean(1)


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

"""Image features: what the vision encoder and its projection make of a picture, kept by the picture's content hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclm.serve.lru import ByteCache

if TYPE_CHECKING:
    import torch

    from medclm.serve.requests import Picture

KEPT = ("pooler_output", "deepstack_features")
"""The fields of the encoder's output that the language model takes (the second one: Qwen3-VL)."""
SHAPES = ("image_grid_thw", "image_sizes")
"""Arrays of a picture that the language model needs too: they say how its tokens lie."""


@dataclass(frozen=True)
class Encoded:
    """One picture's features: (tokens, width) for each kept field, several for one with several layers. ``stacked``:
    the model gave a tensor (1, tokens, width), and wants one."""

    fields: dict[str, tuple[torch.Tensor, ...]]
    stacked: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(t.numel() * t.element_size() for tensors in self.fields.values() for t in tensors)


class Features:
    """The encoder of ``model`` and ``room`` bytes of what it made."""

    def __init__(self, model: Any, room: int) -> None:
        self.model = model
        self.cache: ByteCache[bytes, Encoded] = ByteCache(room)

    def inputs(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        """Arguments of the model's forward that stand for these pictures, in reading order."""
        import torch
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        fresh = {picture.key: picture for picture in pictures}
        found = {key: self.cache.get(key) for key in fresh}
        with torch.inference_mode():
            for key in (key for key, value in found.items() if value is None):
                found[key] = made = self._encode(fresh[key])
                self.cache.put(key, made, made.size)
            rows = [encoded for picture in pictures if (encoded := found[picture.key]) is not None]
            pooled: Any = [row.fields["pooler_output"][0] for row in rows]
            output: Any = BaseModelOutputWithPooling(pooler_output=torch.stack(pooled) if rows[0].stacked else pooled)
            if "deepstack_features" in rows[0].fields:
                layers = zip(*(row.fields["deepstack_features"] for row in rows), strict=True)
                output["deepstack_features"] = list(layers)
        shapes = {
            n: torch.cat([self._tensor(p.arrays[n]) for p in pictures]) for n in SHAPES if n in pictures[0].arrays
        }
        return {"mm_encoder_outputs": {"image": output}, **shapes}

    def _encode(self, picture: Picture) -> Encoded:
        import torch

        inputs = {name: self._tensor(array) for name, array in picture.arrays.items()}
        output = self.model.get_image_features(**inputs, return_dict=True)
        found = {name: tuple(output[name]) for name in KEPT if output.get(name) is not None}
        # a layer of deepstack features is a tuple of pictures, of which there is one
        fields = {name: tuple(t[0] if isinstance(t, tuple) else t for t in value) for name, value in found.items()}
        return Encoded(fields, isinstance(output["pooler_output"], torch.Tensor))

    def _tensor(self, array: Any) -> torch.Tensor:
        import torch

        return torch.from_numpy(array).to(self.model.device)

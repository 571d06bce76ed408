"""The segmenter ``monai-bundle:DIR``: any MONAI bundle that segments pictures or volumes.

Used of the bundle (MONAI's bundle specification): ``configs/inference.json`` or ``.yaml`` with ``network_def``,
``inferer``, ``preprocessing`` and ``postprocessing``; ``configs/metadata.json`` with the ``channel_def`` of the output;
``models/model.pt`` (a state dict) or ``models/model.ts`` (TorchScript). Pictures come from medclm, so transforms that
load or save files are left out of the chains. A bundle is code: use bundles of people you trust.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from medclm.data import anatomy
from medclm.data.images import to_gray
from medclm.data.segmenters import Segmenter, SegmenterInput
from medclm.data.segmenters.label_volume import LabelVolume
from medclm.data.segmenters.volumetric import VolumeSegmenter
from medclm.errors import MedclmError, UsageError

CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
WEIGHTS = ("model.pt", "model.ts")
FILE_TRANSFORMS = ("LoadImage", "SaveImage", "EnsureChannelFirst", "AddChannel")
"""Transforms of files, or of how files store channels; without the ``d`` of their dictionary form."""


def check(folder: str) -> tuple[Path, Path, dict[str, Any]]:
    """(configuration, weights, metadata) of a bundle, without importing MONAI.

    Raises:
        UsageError: a file of the bundle is missing. MedclmError: its labels name no organ of the vocabulary.
    """
    root = Path(folder)
    found = [
        next((root / part / name for name in names if (root / part / name).is_file()), None)
        for part, names in (("configs", CONFIGS), ("models", WEIGHTS), ("configs", ("metadata.json",)))
    ]
    if None in found:
        raise UsageError(
            "the folder is no whole MONAI bundle",
            where=folder,
            expected=f"configs/metadata.json, configs/{' or '.join(CONFIGS)}, models/{' or '.join(WEIGHTS)}",
            got=", ".join(str(path.relative_to(root)) for path in found if path) or "none of them",
            remedy="python -m monai.bundle download --name NAME --bundle_dir DIR (on a machine with network)",
        )
    config, weights, metadata_file = (path for path in found if path)
    metadata = json.loads(metadata_file.read_bytes())
    bundle_organs(metadata, folder)
    return config, weights, metadata


def bundle_organs(metadata: dict[str, Any], where: str) -> dict[int, str]:
    """Vocabulary name by output channel, from ``channel_def``; channels of no organ (background, lesions) are left out.

    Raises:
        MedclmError: no channel is an organ of the vocabulary.
    """
    output = metadata.get("network_data_format", {}).get("outputs", {}).get("pred", {})
    words = {int(channel): str(word) for channel, word in output.get("channel_def", {}).items()}
    organs = {channel: name for channel, word in words.items() if (name := anatomy.organ_name(word))}
    if not organs:
        raise MedclmError(
            "the bundle segments no organ of the vocabulary",
            where=f"{where}/configs/metadata.json",
            expected="network_data_format: outputs: pred: channel_def with names or synonyms of organs.yaml",
            got=words or "no channel_def",
        )
    return organs


def load(folder: str, device: str = "auto") -> Segmenter:
    """The bundle as a segmenter: of pictures or of volumes, as its input's ``spatial_shape`` says.

    Raises:
        UsageError, MedclmError: as :func:`check`.
    """
    config, weights, metadata = check(folder)
    bundle = Bundle(config, weights, metadata, device)
    digest = hashlib.sha256(config.read_bytes() + weights.read_bytes()).hexdigest()
    name = f"monai-bundle:{metadata.get('name', Path(folder).name)}@{digest[:8]}"
    shape = metadata["network_data_format"]["inputs"]["image"].get("spatial_shape", ())
    if len(shape) == 3:
        return VolumeSegmenter(name, bundle.volume)
    return PictureBundle(name, bundle)


class Bundle:
    """The parts of a bundle that inference needs, put together by MONAI's ``ConfigParser``."""

    def __init__(self, config: Path, weights: Path, metadata: dict[str, Any], device: str) -> None:
        from monai.bundle import ConfigParser

        from medclm.data.segmenters.unet import pick_device

        self.device = pick_device(device)
        self.organs = bundle_organs(metadata, str(config.parent.parent))
        self.in_channels = int(metadata["network_data_format"]["inputs"]["image"].get("num_channels", 1))
        parser = ConfigParser()
        parser.read_config(config)
        parser.read_meta(config.parent / "metadata.json")
        parser["bundle_root"] = str(config.parent.parent)
        parser["device"] = self.device
        for chain in ("preprocessing", "postprocessing"):
            _drop_file_transforms(parser, chain)
        self._before, self._after = (
            parser.get_parsed_content(chain) if _has(parser, chain) else None
            for chain in ("preprocessing", "postprocessing")
        )
        self._infer = parser.get_parsed_content("inferer") if _has(parser, "inferer") else _direct
        self._network = self._load_network(parser, weights)

    def _load_network(self, parser: Any, weights: Path) -> Any:
        import torch

        if weights.suffix == ".ts":
            return torch.jit.load(str(weights), map_location=self.device).eval()
        network = parser.get_parsed_content("network_def")
        state = torch.load(weights, map_location=self.device, weights_only=True)
        try:
            network.load_state_dict(state.get("model", state))
        except RuntimeError as error:
            raise MedclmError("the weights of the bundle do not fit its network", where=weights, got=error) from error
        return network.to(self.device).eval()

    def predict(self, pixels: np.ndarray, affine: np.ndarray) -> Any:
        """Output of the chain for one picture or volume, as a MONAI ``MetaTensor`` (C, …) in its own frame.

        Args:
            pixels: (1, H, W) or (1, I, J, K) float32.
            affine: (4, 4) indices to RAS+ millimetres.
        """
        import torch
        from monai.data import MetaTensor

        image = MetaTensor(
            torch.from_numpy(np.repeat(pixels, self.in_channels, axis=0)), affine=torch.from_numpy(affine)
        )
        item = {"image": image}
        with torch.inference_mode():
            item = self._before(item) if self._before else item
            logits = self._infer(item["image"][None].to(self.device), self._network)
            item["pred"] = MetaTensor(logits[0].cpu(), meta=dict(item["image"].meta))
            return (self._after(item) if self._after else item)["pred"]

    def volume(self, image: SegmenterInput) -> LabelVolume:
        """The labels of the volume that a slice belongs to."""
        from medclm.data.segmenters.series import load_volume

        source = load_volume(image.source.volume)
        found = self.predict(np.asarray(source.dataobj, dtype=np.float32)[None], source.affine)
        values = labels_of(found.cpu().numpy())
        return LabelVolume(values, np.asarray(found.affine), self.organs)


class PictureBundle:
    """A bundle of pictures as a segmenter. The network sees the grey picture as shown, 0 to 255."""

    def __init__(self, name: str, bundle: Bundle) -> None:
        self.name, self.bundle = name, bundle

    def __call__(self, images: list[SegmenterInput]) -> list[dict[str, np.ndarray]]:
        """See :class:`medclm.data.segmenters.Segmenter`.

        Raises:
            MedclmError: the bundle gives masks of another size than its picture.
        """
        return [self._masks(to_gray(image.shown)) for image in images]

    def _masks(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        found = self.bundle.predict(picture[None].astype(np.float32), np.eye(4)).cpu().numpy()
        if found.shape[1:] != picture.shape:
            raise MedclmError(
                "the bundle gives masks of another size than its picture",
                where=self.name,
                expected=picture.shape,
                got=found.shape[1:],
                remedy="let its postprocessing undo what its preprocessing resizes (Invertd)",
            )
        values = labels_of(found)
        masks = {organ: values == value for value, organ in self.bundle.organs.items()}
        return {organ: mask for organ, mask in masks.items() if mask.any()}


def labels_of(found: np.ndarray) -> np.ndarray:
    """Whole-number labels (…) of a chain's output (C, …); -1 is none.

    One channel holds labels. Several channels of 0 and 1 are organs that may overlap (the later one wins) or be absent;
    several channels of scores are classes, of which the highest wins.
    """
    if found.shape[0] == 1:
        return np.rint(found[0]).astype(np.int32)
    if np.isin(found, (0, 1)).all():
        numbers = np.arange(found.shape[0]).reshape(-1, *[1] * (found.ndim - 1))
        return np.where(found > 0, numbers, -1).max(axis=0).astype(np.int32)
    return found.argmax(axis=0).astype(np.int32)


def _direct(pixels: Any, network: Any) -> Any:
    return network(pixels)


def _has(parser: Any, name: str) -> bool:
    return name in parser.get()


def _drop_file_transforms(parser: Any, chain: str) -> None:
    config = parser.get()
    if chain not in config or not isinstance(config[chain], dict):
        return
    transforms = config[chain].get("transforms", [])
    if isinstance(transforms, list):
        kept = [
            t for t in transforms if str(t.get("_target_", "")).rpartition(".")[2].rstrip("d") not in FILE_TRANSFORMS
        ]
        parser[f"{chain}#transforms"] = kept

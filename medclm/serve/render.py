"""``POST /v1/render``: one uploaded file as the model would see it, without asking one.

The page shows this. It uploads a file once for each slice and lays other windows over the grey values itself.
"""

from __future__ import annotations

import asyncio
import base64
import io
import math
import zlib
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Form, UploadFile
from pydantic import BaseModel

from medclm.data.records import Window
from medclm.serve import schema
from medclm.serve.guards import ApiError
from medclm.serve.images import Shown, readable
from medclm.serve.served import Limits, Served

if TYPE_CHECKING:
    from medclm.data.images import Picture


class GreyOut(BaseModel):
    """Grey values before any window, for a client that windows them itself: DICOM PS3.3 C.11.2.1.2, LINEAR.

    Attributes:
        inverted: low values are bright.
        data: base64 of zlib-deflated little-endian float32 (height, width) in modality units, turned as ``image`` is.
    """

    inverted: bool
    data: str


class RenderResponse(BaseModel):
    """A picture, how it may be windowed, and which of the file's frames it is.

    Attributes:
        image: the picture with its PNG data URI; the window is None where values are shown as they are.
        frame, frames: index of this frame, from 0, and how many there are.
        modality: as the header says; empty where it does not.
        values: smallest and largest grey value, in modality units; None where there is nothing to window.
        grey: all of them; None where ``values`` is.
        presets: named windows for this modality.
    """

    image: schema.ImageOut
    frame: int
    frames: int
    modality: str
    values: tuple[float, float] | None
    grey: GreyOut | None
    presets: list[Window]


def render_route(router: APIRouter, served: Served) -> None:
    """Adds the route."""

    @router.post("/render", response_model=RenderResponse)
    async def render(
        file: Annotated[UploadFile, File(description="DICOM, PNG, JPEG, or a NIfTI volume")],
        window: Annotated[str, Form(description="auto, a preset, or CENTER,WIDTH in modality units")] = "auto",
        frame: Annotated[int | None, Form(ge=0, le=2**31, description="from 0; the middle one if left out")] = None,
    ) -> Any:
        data = await file.read()
        return await asyncio.to_thread(rendered, data, parse_window(window), frame, served.limits)


def parse_window(text: str) -> str | Window:
    """``CENTER,WIDTH`` as a window; any other text as it is.

    Raises:
        ApiError: 400, a number is not finite, is out of all reason, or the width is not positive.
    """
    center_text, comma, width_text = text.partition(",")
    if not comma:
        return text
    try:
        center, width = float(center_text), float(width_text)
    except ValueError:
        center = width = math.nan
    if not (abs(center) <= 1e9 and 0 < width <= 1e9):
        message = f"window must be CENTER,WIDTH with a positive width, got {text[:60]!r}"
        raise ApiError(400, message, code="invalid_value", param="window")
    return Window(center=center, width=width)


def rendered(data: bytes, window: str | Window, frame: int | None, limits: Limits) -> RenderResponse:
    """The picture of one frame.

    Args:
        data: the file.
        window: as :func:`medclm.data.images.render` takes it.
        frame: from 0; None for the middle one.
        limits: on bytes and pixels.

    Raises:
        ApiError: as :func:`medclm.serve.images.decode`.
    """
    from medclm.data.images import CT_WINDOWS, read_picture
    from medclm.data.images import render as show

    with readable(data, limits.max_upload_bytes, "file"):
        picture = read_picture(data, "the image", frame or 0, limits.max_image_pixels)
        frames = frame_count(data, picture.file_format)
        if frame is None and frames > 1:
            picture = read_picture(data, "the image", frames // 2, limits.max_image_pixels)
        shown = Shown(*show(picture, window))
    height, width = shown.pixels.shape[:2]
    deep = not picture.is_color and (picture.bits > 8 or picture.file_format == "dicom")
    values = _range(picture.values) if deep else None
    return RenderResponse(
        image=schema.ImageOut(width=width, height=height, window=shown.window, data=shown.data_uri()),
        frame=frames // 2 if frame is None else frame,
        frames=frames,
        modality=picture.modality,
        values=values,
        grey=_grey(picture) if values else None,
        presets=list(CT_WINDOWS.values()) if deep and picture.modality == "CT" else [],
    )


def frame_count(data: bytes, file_format: str) -> int:
    """Frames, pages or slices of a file that could be read as ``file_format``."""
    if file_format == "dicom":
        import pydicom

        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
        return int(header.get("NumberOfFrames") or 1)
    from medclm.data import volume_cache, volume_files

    if volume_files.is_volume(data):
        return len(volume_cache.volume_in(data, "the image"))
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as image:
        return int(getattr(image, "n_frames", 1))


def _grey(picture: Picture) -> GreyOut:
    values = picture.display.apply(picture.values) if picture.display else picture.values
    packed = zlib.compress(values.astype("<f4").tobytes(), 1)
    return GreyOut(inverted=picture.inverted, data=base64.b64encode(packed).decode())


def _range(values: np.ndarray) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None

"""Pictures out of requests: data URIs and uploads, decoded within limits. Fetched only from hosts that are allowed."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from medclm.errors import MedclmError
from medclm.serve.guards import ApiError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from medclm.data.records import Window

_DATA_URI = re.compile(r"data:(?P<type>[\w.+/-]*)(?:;[\w.=+-]+)*?;base64,", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Shown:
    """A decoded picture: (H, W) or (H, W, 3) uint8 as displayed, and the grey-value window that it was shown with."""

    pixels: np.ndarray
    window: Window | None

    @cached_property
    def image(self) -> PIL.Image.Image:
        """The picture for the predictor."""
        import PIL.Image

        return PIL.Image.fromarray(self.pixels)

    def data_uri(self) -> str:
        """The picture as a PNG data URI."""
        from medclm.data.images import encode_png

        return "data:image/png;base64," + base64.b64encode(encode_png(self.pixels)).decode()


def from_uri(uri: str, max_bytes: int, allow_hosts: Collection[str] = ()) -> bytes:
    """The bytes of a data URI, or of an https address on one of the hosts that may be fetched from.

    Raises:
        ApiError: as :func:`from_data_uri` and :func:`medclm.serve.fetch.fetch`.
    """
    if allow_hosts and uri[:8].lower() == "https://":
        from medclm.serve.fetch import fetch

        return fetch(uri, allow_hosts, max_bytes)
    return from_data_uri(uri, max_bytes)


def from_data_uri(uri: str, max_bytes: int) -> bytes:
    """The bytes that a data URI holds.

    Raises:
        ApiError: any other kind of address (they are not fetched), broken base64, no or too many bytes.
    """
    param = "messages"
    match = _DATA_URI.match(uri)
    if match is None:
        shown = uri[:60] + ("…" if len(uri) > 60 else "")
        raise ApiError(
            400,
            f"image_url must be a data URI (data:image/png;base64,…), got {shown!r}; remote addresses and local paths "
            "are never fetched",
            code="image_url_not_allowed",
            param=param,
        )
    body = uri[match.end() :]
    if len(body) // 4 * 3 > max_bytes + 3:
        raise too_large(max_bytes)
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"the image's base64 is broken: {error}", code="invalid_image", param=param) from error
    return data


def decode(
    data: bytes,
    max_bytes: int,
    max_pixels: int,
    window: str = "auto",
    frame: int | None = None,
    param: str = "file",
) -> Shown:
    """A picture file as displayed, by the same two calls that made the training data.

    Args:
        data: a DICOM, PNG or JPEG file.
        max_bytes, max_pixels: limits of the file and of the decoded picture.
        window: as :func:`medclm.data.images.render` takes it.
        frame: which frame of a multi-frame file, from 0.
        param: the request's field, for messages.

    Raises:
        ApiError: the file is empty, over a limit, or no picture that can be read.
    """
    from medclm.data.images import read_picture, render

    with readable(data, max_bytes, param):
        return Shown(*render(read_picture(data, "the image", frame, max_pixels), window))


@contextmanager
def readable(data: bytes, max_bytes: int, param: str) -> Iterator[None]:
    """Refuses an empty or too large file, and what a decoder inside the block finds wrong with it.

    Raises:
        ApiError: 400 or 413.
    """
    if not data:
        raise ApiError(400, "the image is empty", code="invalid_image", param=param)
    if len(data) > max_bytes:
        raise too_large(max_bytes, param)
    try:
        yield
    except MedclmError as error:
        details = "; ".join(f"{key}: {value}" for key, value in error.details.items() if value and key != "where")
        message = f"{error.what} ({details})" if details else error.what
        raise ApiError(400, message, code="invalid_image", param=param) from error


def too_large(max_bytes: int, param: str = "messages") -> ApiError:
    """The refusal of a file over the limit."""
    return ApiError(413, f"the image is larger than {max_bytes} bytes", code="image_too_large", param=param)

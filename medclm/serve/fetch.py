"""Pictures from addresses, for hosts that the operator allows. With no such host nothing is ever fetched.

Only https on port 443, no credentials, no redirects. The name is resolved once, every address it has must be a public
one, and the connection goes to that very address, so that a name cannot point elsewhere between check and use.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Collection
from urllib.parse import urlsplit

from medclm.serve.guards import ApiError

TIMEOUT_S = 10.0
_PARAM = "messages"


def fetch(url: str, allowed: Collection[str], max_bytes: int) -> bytes:
    """The bytes at ``url``.

    Args:
        allowed: host names, lower case, exactly as they may be written.
        max_bytes: of the body.

    Raises:
        ApiError: 400, the address is not allowed, is not public, or gives no picture; 413, it is too large.
    """
    host, target = check_url(url, allowed)
    return download(host, public_address(host), 443, target, max_bytes, ssl.create_default_context())


def check_url(url: str, allowed: Collection[str]) -> tuple[str, str]:
    """(host, path with query) of an address that may be fetched.

    Raises:
        ApiError: it may not.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").lower()
    except ValueError:
        raise _refused(url, "it is no address") from None
    if parts.scheme != "https" or host not in allowed or port not in (None, 443):
        raise _refused(url, "only data URIs, and https to hosts that this server allows, are taken")
    if parts.username is not None or parts.password is not None:
        raise _refused(url, "it holds credentials")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or any(c <= " " for c in target):
        raise _refused(url, "it holds characters that belong in no address")
    return host, target


def public_address(host: str) -> str:
    """The address to connect to.

    Raises:
        ApiError: the name is unknown, or one of its addresses is private, loopback, link-local, reserved or multicast.
    """
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)}
    except OSError:
        raise _refused(host, "the host is unknown") from None
    for address in found:
        place = ipaddress.ip_address(address.partition("%")[0])
        inner = getattr(place, "ipv4_mapped", None) or place
        if not inner.is_global or inner.is_multicast:
            raise _refused(host, "the host has an address that is not public")
    return sorted(found)[0]


def download(host: str, address: str, port: int, target: str, max_bytes: int, context: ssl.SSLContext) -> bytes:
    """GET from one address, under the name ``host``.

    Raises:
        ApiError: as :func:`fetch`.
    """
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        plain = socket.create_connection((address, port), TIMEOUT_S)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        connection.request("GET", target, headers={"Accept": "image/*, application/dicom"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise _refused(host, f"it answered {answer.status}; redirects are not followed")
        body = answer.read(max_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _refused(host, f"it cannot be read ({type(error).__name__})") from error
    finally:
        connection.close()
    if len(body) > max_bytes:
        raise ApiError(413, f"the image is larger than {max_bytes} bytes", code="image_too_large", param=_PARAM)
    return body


def _refused(url: str, why: str) -> ApiError:
    shown = url[:60] + ("…" if len(url) > 60 else "")
    return ApiError(400, f"the image at {shown!r} is not fetched: {why}", code="image_url_not_allowed", param=_PARAM)

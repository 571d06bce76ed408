"""Where the token and the address of a cluster come from, against a small HTTP server of our own."""

from __future__ import annotations

import http.server
import threading

import pytest

from medclm import raycluster
from medclm.errors import MedclmError, UsageError


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", *raycluster.ADDRESS_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.fixture
def web_server():
    """Address of a server that is no Ray: every answer is an HTML page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_token_is_looked_up_in_rays_order(bare, tmp_path):
    assert raycluster.find_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("home\n")
    assert raycluster.find_token() == "home"
    (tmp_path / "other").write_text("named")
    bare.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    assert raycluster.find_token() == "named"
    bare.setenv("RAY_AUTH_TOKEN", "direct")
    assert raycluster.find_token() == "direct"
    bare.setenv("RAY_AUTH_MODE", "disabled")
    assert raycluster.find_token() is None


def test_token_order_is_the_one_of_ray(bare, tmp_path):
    """The same three places, read by Ray itself."""
    from ray._raylet import AuthenticationTokenLoader

    loader = AuthenticationTokenLoader.instance()
    try:
        for place in ("home", "named", "direct"):
            if place == "home":
                (tmp_path / ".ray").mkdir()
                (tmp_path / ".ray" / "auth_token").write_text("home\n")
            elif place == "named":
                (tmp_path / "other").write_text("named")
                bare.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
            else:
                bare.setenv("RAY_AUTH_TOKEN", "direct")
            loader.reset_cache()
            assert loader.get_raw_token(ignore_auth_mode=True) == place == raycluster.find_token()
    finally:
        bare.undo()
        loader.reset_cache()


def test_a_named_token_file_must_exist(bare, tmp_path):
    bare.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="RAY_AUTH_TOKEN_PATH"):
        raycluster.find_token()


def test_address_order(bare):
    assert raycluster.resolve_address() == raycluster.DEFAULT_ADDRESS
    bare.setenv("RAY_ADDRESS", "http://b:8265/")
    assert raycluster.resolve_address() == "http://b:8265"
    bare.setenv("RAY_API_SERVER_ADDRESS", "https://c")
    assert raycluster.resolve_address() == "https://c"
    assert raycluster.resolve_address("http://a:1") == "http://a:1", "an explicit address wins"


def test_nothing_there_is_explained():
    with pytest.raises(raycluster.UnreachableError, match="ray start --head"):
        raycluster.Cluster("http://127.0.0.1:9").version()


def test_another_server_is_told_from_ray(web_server):
    with pytest.raises(MedclmError, match="no Ray job server"):
        raycluster.Cluster(web_server).version()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", None, 1),
        ("FAILED", -9, 1),
        ("STOPPED", None, 1),
        ("RUNNING", None, None),
    ],
)
def test_exit_codes(status, code, expected):
    job = raycluster._job({"submission_id": "a", "status": status, "driver_exit_code": code, "entrypoint": "x"})
    assert (job.exit_code, job.ended) == (expected, expected is not None)

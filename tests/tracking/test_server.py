"""Whether a W&B server would take a run: what it must say, and how fast."""

import http.server
import socket
import threading
import time

import pytest

from striate.tracking import server as asked


@pytest.fixture
def server():
    """`server(status, body)` starts a loopback server that answers so, or never when `status` is None; its address."""
    running = []

    def start(status, body=b""):
        if status is None:
            silent = socket.create_server(("127.0.0.1", 0))
            running.append(silent.close)
            return f"http://127.0.0.1:{silent.getsockname()[1]}"

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=found.serve_forever, daemon=True).start()
        running.extend((found.shutdown, found.server_close))
        return f"http://127.0.0.1:{found.server_port}"

    yield start
    for stop in running:
        stop()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (None, b"", "does not answer"),
        (500, b"", "does not answer (HTTP Error 500"),
        (200, b"<html>", "does not answer"),
        (200, b'{"data": {"viewer": null}}', "does not know this login"),
        (200, b'{"data": {"viewer": {"id": "me"}}}', None),
    ],
)
def test_a_server_is_asked_before_it_is_trusted(server, monkeypatch, status, body, says):
    monkeypatch.setenv("WANDB_BASE_URL", server(status, body))
    monkeypatch.setenv("WANDB_API_KEY", "x")
    started = time.monotonic()
    fault = asked.fault()
    assert time.monotonic() - started < 2
    assert fault is None if says is None else says in fault


def test_a_server_of_ones_own_is_found_where_its_login_left_it(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # W&B reads its settings when it begins
    for name in ("WANDB_BASE_URL", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    (tmp_path / "settings").write_text("[default]\nbase_url = http://wandb.example.org:8080\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine wandb.example.org:8080 login user password secret\n")
    assert asked.key() == "secret"
    asking = []

    def urlopen(request, **options):
        asking.append(request.full_url)
        raise OSError("down")

    monkeypatch.setattr(asked.urllib.request, "urlopen", urlopen)
    assert asked.fault() == "wandb.example.org does not answer (down)"
    assert asking == ["http://wandb.example.org:8080/graphql"]
    wandb.teardown()


def test_the_key_is_that_of_the_environment_or_of_netrc(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text((tmp_path / "netrc").read_text())
    (tmp_path / ".netrc").chmod(0o600)
    assert asked.key() == "secret"
    monkeypatch.setenv("WANDB_API_KEY", "other")
    assert asked.key() == "other"

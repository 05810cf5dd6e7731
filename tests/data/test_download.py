"""Downloads from a server on the loopback device that misbehaves as its paths say."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hcrnn_pyro.data.download import Patience, fetch, git_blob_sha1, md5, read_md5
from hcrnn_pyro.errors import UserError

CONTENT = b"item\n" * 40_000
BLOB_SHA1 = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"  # `printf hello | git hash-object --stdin`
PATIENCE = Patience(attempts=3, pause=0.01, timeout=0.3)
CONTENT_MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/good, /corrupted, /truncated, /stalled, /busy (503), /flaky (broken off, then 503, then good); else 404."""

    requests_of: dict[str, int]
    released: threading.Event

    def do_GET(self):
        self.requests_of[self.path] = self.requests_of.get(self.path, 0) + 1
        kind = self.path.strip("/")
        if kind == "flaky":
            kind = ("truncated", "busy", "good")[self.requests_of[self.path] - 1]
        if kind not in ("good", "corrupted", "truncated", "stalled", "busy"):
            return self.send_error(404)
        if kind == "busy":
            return self.send_error(503)
        content = CONTENT[:-1] + b"?" if kind == "corrupted" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if kind in ("good", "corrupted") else content[:1000])
        if kind == "stalled":
            self.wfile.flush()
            self.released.wait(10)
        return None

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server():
    handler = type("OneServer", (Handler,), {"requests_of": {}, "released": threading.Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        handler.released.set()
        running.shutdown()
        thread.join()


def url(server, kind: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{kind}"


def test_good_file_arrives_whole_and_alone(server, tmp_path, capsys):
    destination = tmp_path / "new" / "folder" / "file.txt"
    assert fetch(url(server, "good"), destination, md5(CONTENT_MD5), patience=PATIENCE) == destination
    assert destination.read_bytes() == CONTENT
    assert list(destination.parent.iterdir()) == [destination]
    assert "100%" in capsys.readouterr().err


def test_no_progress_bar_where_none_is_wanted(server, tmp_path, capsys):
    fetch(url(server, "good"), tmp_path / "file", md5(CONTENT_MD5), progress=False, patience=PATIENCE)
    assert capsys.readouterr().err == ""


def test_flaky_transfer_starts_anew_until_it_is_whole(server, tmp_path):
    fetch(url(server, "flaky"), tmp_path / "file", md5(CONTENT_MD5), patience=PATIENCE)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.RequestHandlerClass.requests_of["/flaky"] == 3


@pytest.mark.parametrize(
    ("kind", "reason", "attempts"),
    [
        ("truncated", "the transfer broke off before its end", 3),
        ("stalled", "the server sent nothing for too long", 3),
        ("busy", "the server answered 503", 3),
        ("missing", "the server answered 404", 1),
    ],
)
def test_failures_say_what_to_do_and_leave_nothing(server, tmp_path, kind, reason, attempts):
    destination = tmp_path / "folder" / "file.txt"
    with pytest.raises(UserError, match=reason) as caught:
        fetch(url(server, kind), destination, md5(CONTENT_MD5), progress=False, patience=PATIENCE)
    for text in (url(server, kind), str(destination), "--data synthetic"):
        assert text in str(caught.value)
    assert server.RequestHandlerClass.requests_of[f"/{kind}"] == attempts
    assert list(destination.parent.iterdir()) == []


def test_corrupted_file_is_refused_with_both_sums(server, tmp_path):
    destination = tmp_path / "folder" / "file.txt"
    got = hashlib.md5(CONTENT[:-1] + b"?").hexdigest()
    with pytest.raises(UserError, match=f"expected MD5 {CONTENT_MD5}, got {got}"):
        fetch(url(server, "corrupted"), destination, md5(CONTENT_MD5), progress=False, patience=PATIENCE)
    assert list(destination.parent.iterdir()) == []


def test_an_older_file_survives_a_failed_download(server, tmp_path):
    destination = tmp_path / "file.txt"
    destination.write_text("older")
    with pytest.raises(UserError):
        fetch(url(server, "corrupted"), destination, md5(CONTENT_MD5), progress=False, patience=PATIENCE)
    assert destination.read_text() == "older"


def test_connection_refused(tmp_path):
    with pytest.raises(UserError, match="no connection to the server"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", md5(CONTENT_MD5), progress=False, patience=PATIENCE)


def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "folder").write_text("a file where a folder is needed")
    with pytest.raises(UserError, match="Could not write"):
        fetch(url(server, "good"), tmp_path / "folder" / "file", md5(CONTENT_MD5), progress=False, patience=PATIENCE)


def test_git_blob_sha1_is_the_one_git_gives(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    git_blob_sha1(BLOB_SHA1)(path)
    path.write_bytes(b"hello!")
    with pytest.raises(UserError, match=f"expected git blob SHA-1 {BLOB_SHA1}, got [0-9a-f]{{40}}"):
        git_blob_sha1(BLOB_SHA1)(path)


@pytest.mark.parametrize(
    "text", [f"MD5 (ml-1m.zip) = {CONTENT_MD5}\n", f"{CONTENT_MD5}  ml-1m.zip\n", CONTENT_MD5.upper()]
)
def test_md5_file_in_each_layout(tmp_path, text):
    (tmp_path / "file.md5").write_text(text)
    assert read_md5(tmp_path / "file.md5") == CONTENT_MD5


def test_md5_file_without_a_sum(tmp_path):
    (tmp_path / "file.md5").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="32 hexadecimal digits"):
        read_md5(tmp_path / "file.md5")

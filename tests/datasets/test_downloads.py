"""Downloads, against a server in this process."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scssl.datasets import download, downloads, list_downloads
from scssl.errors import DataError, FormatError, SettingsError


class _Quiet(SimpleHTTPRequestHandler):
    requests: list[str] = []

    def log_message(self, *args):
        self.requests.append(self.command)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    _Quiet.requests.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def register(monkeypatch, url, **more):
    entry = downloads.Download(url=url, description="two cells", licence="CC0", **more)
    monkeypatch.setattr(downloads, "DOWNLOADS", {"mine": entry})


def test_size_and_licence_are_shown_before_and_a_second_call_transfers_nothing(server, monkeypatch, tmp_path, capsys):
    folder, base = server
    (folder / "cells.h5").write_bytes(b"x" * 1_500_000)
    register(monkeypatch, f"{base}/cells.h5")
    path = download("mine", folder=tmp_path / "cache")
    assert path == tmp_path / "cache" / "mine.h5"
    assert path.read_bytes() == b"x" * 1_500_000
    shown = capsys.readouterr().err
    assert "1.5 MB, CC0" in shown
    assert base in shown
    before = list(_Quiet.requests)
    assert before[0] == "HEAD"
    assert download("mine", folder=tmp_path / "cache") == path
    assert before == _Quiet.requests
    assert capsys.readouterr().err == ""


def test_a_published_hash_is_enforced(server, monkeypatch, tmp_path):
    folder, base = server
    (folder / "cells.h5ad").write_bytes(b"right")
    register(monkeypatch, f"{base}/cells.h5ad", hash=f"md5:{hashlib.md5(b'right').hexdigest()}")
    assert download("mine", folder=tmp_path).read_bytes() == b"right"
    register(monkeypatch, f"{base}/cells.h5ad", hash=f"md5:{hashlib.md5(b'other').hexdigest()}")
    with pytest.raises(FormatError, match="not the file expected"):
        download("mine", folder=tmp_path / "again")
    assert not (tmp_path / "again" / "mine.h5ad").exists()


def test_without_a_published_hash_the_first_download_is_remembered(server, monkeypatch, tmp_path):
    folder, base = server
    (folder / "cells.h5ad").write_bytes(b"first")
    register(monkeypatch, f"{base}/cells.h5ad")
    path = download("mine", folder=tmp_path)
    note = tmp_path / "mine.h5ad.sha256"
    assert note.read_text().strip() == hashlib.sha256(b"first").hexdigest()
    path.write_bytes(b"damaged on disk")
    assert download("mine", folder=tmp_path).read_bytes() == b"first"
    path.unlink()
    (folder / "cells.h5ad").write_bytes(b"changed on the server")
    with pytest.raises(FormatError, match=r"remove .*mine\.h5ad"):
        download("mine", folder=tmp_path)


def test_archives_are_unpacked(server, monkeypatch, tmp_path):
    folder, base = server
    (folder / "matrix.mtx").write_text("cells")
    with tarfile.open(folder / "cells.tar.gz", "w:gz") as archive:
        archive.add(folder / "matrix.mtx", arcname="inside/hg19/matrix.mtx")
    register(monkeypatch, f"{base}/cells.tar.gz", member="inside/hg19")
    path = download("mine", folder=tmp_path / "cache")
    assert (path / "matrix.mtx").read_text() == "cells"
    assert download("mine", folder=tmp_path / "cache") == path
    register(monkeypatch, f"{base}/cells.tar.gz", member="elsewhere")
    with pytest.raises(FormatError, match="no folder elsewhere"):
        download("mine", folder=tmp_path / "cache")


def test_a_missing_file_or_server_is_one_message(server, monkeypatch, tmp_path):
    _, base = server
    register(monkeypatch, f"{base}/nothing.h5")
    with pytest.raises(DataError, match=r"nothing\.h5 cannot be downloaded"):
        download("mine", folder=tmp_path)
    register(monkeypatch, "http://127.0.0.1:9/cells.h5")
    with pytest.raises(DataError, match="is there a network"):
        download("mine", folder=tmp_path)


def test_names():
    with pytest.raises(SettingsError, match="pbmc3k"):
        download("pbmc4k")
    table = list_downloads()
    assert {"pbmc3k", "bone_marrow_s1d1"} <= set(table.index)
    assert (table["licence"] != "").all()
    assert table["url"].str.startswith("https://").all()
    assert table.loc["pbmc3k", "checked_by"] == "hash of the first download"

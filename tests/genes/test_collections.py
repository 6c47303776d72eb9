"""Collections fetched by name, against a server in this process."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scssl.errors import DataError, SettingsError
from scssl.fetch import Download
from scssl.genes import GenePanel, Limits, collections, load
from scssl.genes.collections import COLLECTIONS, fetch_sets, is_collection


class _Quiet(SimpleHTTPRequestHandler):
    requests: list[str] = []

    def log_message(self, *args):
        self.requests.append(self.command)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder whose files stand in for the published ones; returns it and what was asked for."""
    folder = tmp_path / "www"
    folder.mkdir()
    _Quiet.requests.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()

    def local(entry):
        name = entry.url.rpartition("/")[2]
        url = f"http://127.0.0.1:{httpd.server_port}/{name}"
        return Download(url=url, description=entry.description, licence=entry.licence)

    monkeypatch.setattr(collections, "COLLECTIONS", {key: local(entry) for key, entry in COLLECTIONS.items()})
    yield folder, _Quiet.requests
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(scope="module")
def human():
    return GenePanel.builtin("human")


def symbols(panel, n, start=0):
    return [str(name) for name in panel.symbols if name][start : start + n]


def test_msigdb_is_fetched_once_with_size_and_licence_shown(server, human, tmp_path, capsys):
    folder, requests = server
    genes = symbols(human, 40)
    text = "\t".join(["HALLMARK_ONE", "https://somewhere", *genes]) + "\n"
    (folder / "h.all.v2025.1.Hs.symbols.gmt").write_text(text)
    cache = tmp_path / "cache"
    programmes, report = load.load_reported("msigdb:h", panel=human, limits=Limits(), folder=cache)
    assert programmes.names == ["HALLMARK_ONE"]
    assert programmes.sizes.tolist() == [40]
    assert report.n_sets == 1
    shown = capsys.readouterr().err
    assert "downloading msigdb:H: MSigDB 2025.1.Hs hallmark gene sets; 0.0 MB, CC BY 4.0 but for some sets" in shown
    before = list(requests)
    assert before == ["HEAD", "GET"]
    again = load.load_reported("msigdb:H", panel=human, limits=Limits(), folder=cache).programmes
    assert again.names == programmes.names
    assert requests == before
    assert capsys.readouterr().err == ""


def test_factors_of_collections(server, human, tmp_path):
    folder, _ = server
    first, second = symbols(human, 20, 100), symbols(human, 20, 110)
    lines = [["STAT1_01", "", *first], ["STAT1_02", "", *second], ["AAAYRNCTG_UNKNOWN", "", *first]]
    (folder / "c3.tft.v2025.1.Hs.symbols.gmt").write_text("".join("\t".join(line) + "\n" for line in lines))
    rows = [f"MYC,{gene},1,a\n" for gene in first] + [f"AP1,{gene},-1,b\n" for gene in second]
    (folder / "CollecTRI_regulons.csv").write_text("source,target,weight,resources\n" + "".join(rows))
    programmes = load.load_reported("msigdb:C3:TFT", panel=human, limits=Limits(), folder=tmp_path).programmes
    assert programmes.names == ["STAT1", "AAAYRNCTG_UNKNOWN"]
    assert programmes.sizes.tolist() == [30, 20]
    assert human.symbols[programmes.regulators.any(axis=0)].tolist() == ["STAT1"]
    programmes = load.load_reported("collectri", panel=human, limits=Limits(), folder=tmp_path).programmes
    assert programmes.names == ["MYC", "AP1"]
    assert programmes.regulators.any(axis=1).tolist() == [True, False]  # a complex is no gene


def test_what_the_server_does_not_have(server, human, tmp_path):
    with pytest.raises(DataError, match=r"c8\.all\.v2025\.1\.Hs\.symbols\.gmt cannot be downloaded"):
        fetch_sets("msigdb:C8", folder=tmp_path)


def test_names():
    with pytest.raises(SettingsError, match="no collection of gene sets is called 'msigdb:C1'; there are: msigdb:H"):
        fetch_sets("msigdb:C1")
    assert is_collection("MSigDB:h")
    assert is_collection("CollecTRI")
    assert not is_collection("h.all.gmt")
    wanted = {"H", "C2:REACTOME", "C3:TFT", "C5", "C7", "C8"}
    assert {f"msigdb:{name}" for name in wanted} | {"collectri"} <= set(COLLECTIONS)
    for entry in COLLECTIONS.values():
        assert entry.url.startswith("https://")
        assert "CC BY 4.0" in entry.licence

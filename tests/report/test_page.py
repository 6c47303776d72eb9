"""The page is one file, says what the run says, and cannot be led outside its folder."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from scssl import report
from scssl.errors import FormatError, MissingExtraError, SettingsError
from scssl.report.cells import MAX_CELLS, MISSING_BYTE, MISSING_CODE, pack, thin
from scssl.report.tables import MAX_ROWS, flatten, seconds, table

VOID = {"meta", "link", "img", "br", "input", "hr", "wbr"}


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order; collects addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[key] for key in ("src", "href", "action", "xlink:href") if values.get(key)]
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for key, value in attrs if key in {"src", "href", "xlink:href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(path):
    parser = Balanced()
    parser.feed(path.read_text(encoding="utf-8"))
    assert not parser.open
    return parser


def test_page_holds_everything_and_points_nowhere_else(run_folder):
    path = report.render(run_folder)
    assert path == run_folder / "report.html"
    html = path.read_text()
    assert path.stat().st_size < 10_000_000
    page = parse(path)
    assert len(set(page.ids)) == len(page.ids)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html
    for words in (
        "A run &lt;of&gt; tests &amp; more",
        "Pre-training took 12 s.",
        "scssl demo --out &#39;my folder&#39;",
    ):
        assert words in html
    for words in ("model.hidden", "512, 64", "took 1 min 5 s", "atlas.h5ad", "0.912", 'data-v="0.91234"'):
        assert words in html
    assert html.count("<svg") == 3
    # The text of figures takes the page's colour: dark text on a dark page cannot be read.
    assert "#1f2328" not in re.sub(r"<style>.*?</style>", "", html, count=1, flags=re.DOTALL).lower()


def test_rendering_twice_gives_the_same_page(run_folder):
    first = report.render(run_folder).read_bytes()
    assert report.render(run_folder).read_bytes() == first


def test_text_from_files_cannot_become_markup(run_folder):
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    cells = pd.read_csv(run_folder / "cells.csv")
    cells["cell_type"] = evil
    cells.to_csv(run_folder / "cells.csv", index=False)
    for name in ("extra.csv", "scores.csv", "confusion.csv"):
        data = pd.read_csv(run_folder / name)
        data.iloc[0, 0] = evil
        data.to_csv(run_folder / name, index=False)
    record = json.loads((run_folder / "run.json").read_text())
    record["title"] = record["summary"][0] = record["sections"][1]["title"] = evil
    record["settings"] = {evil: evil}
    (run_folder / "run.json").write_text(json.dumps(record))
    html = report.render(run_folder).read_text()
    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_only_reports_are_replaced(run_folder, tmp_path):
    other = tmp_path / "mine.html"
    other.write_text("precious")
    with pytest.raises(SettingsError, match="not a report"):
        report.render(run_folder, out=other)
    assert other.read_text() == "precious"
    report.render(run_folder, out=other, overwrite=True)
    report.render(run_folder, out=other)
    with pytest.raises(SettingsError, match="is a folder"):
        report.render(run_folder, out=tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_names_that_are_not_utf8_are_shown_as_well_as_they_can_be(tmp_path):
    report.Run(title="T", summary=["Made of n\udcff.h5ad."]).save(tmp_path)
    assert "Made of n?.h5ad." in report.render(tmp_path).read_text(encoding="utf-8")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("cells.csv", None, "not there"),
        ("cells.csv", "", "not readable as CSV"),
        ("cells.csv", "a,b\n1,2\n", "cannot be shown as 'embedding'"),
        ("cells.csv", "x,y,t\na,b,c\n", "cannot be shown as 'embedding'"),
        ("history.csv", "epoch\n1\n", "cannot be shown as 'curve'"),
        ("scores.csv", "data,method\n1,2\n", "cannot be shown as 'scores'"),
        ("confusion.csv", "truth,a\nx,y\n", "cannot be shown as 'confusion'"),
    ],
)
def test_bad_tables_are_named(run_folder, file, content, words):
    if content is None:
        (run_folder / file).unlink()
    else:
        (run_folder / file).write_text(content)
    with pytest.raises(FormatError, match=words) as error:
        report.render(run_folder)
    assert file in str(error.value)
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_the_missing_extra_is_named(run_folder, monkeypatch, module):
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"{module} is needed.*pip install 'scssl\[report\]'"):
        report.render(run_folder)


def test_model_folders_have_a_report_too(tmp_path):
    card = {
        "data": {"cells": {"train": 900, "val": 100}},
        "training": {"epochs": 2, "best_epoch": 2, "seconds": 61.0, "started": "2026-01-01T00:00:00"},
        "metrics": {"val_loss": 0.123456},
        "versions": {"scssl": "0.1"},
    }
    content = {
        "format": "scssl-model",
        "n_genes": 1000,
        "sources": ["a"],
        "config": {"pretext": "masked"},
        "card": card,
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "history.csv").write_text("epoch,train_loss,val_loss\n1,2,2\n2,1,1\n")
    html = report.render(tmp_path).read_text()
    assert "pre-trained on 900 unlabelled cells from 1 source with" in html
    assert "val loss 0.1235" in html
    assert html.count("<svg") == 1
    assert "Do it again" not in html
    ran = {"command": "scssl pretrain corpus --out model", "versions": {"torch": "8.8"}, "machine": {"cores": 77}}
    capsule = {"format": "scssl-capsule", "version": 1, "files": {}, "environment": ran, "data": {"path": "my/corpus"}}
    (tmp_path / "capsule.json").write_text(json.dumps(capsule))
    html = report.render(tmp_path).read_text()
    for words in ("scssl pretrain corpus --out model", "8.8", "77 cores", "my/corpus", "cells to learn from"):
        assert words in html
    (tmp_path / "config.json").write_text(json.dumps({**content, "format": "x"}))
    with pytest.raises(FormatError, match="does not describe a scssl model"):
        report.render(tmp_path)


def test_packed_cells_unpack_to_what_they_were():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 2)) * [10, 1]
    types = rng.choice(["a", "b10", "b9", None], 500)
    colours = pd.DataFrame({"type": types, "score": rng.random(500)})
    packed = pack(points, colours, panels=["score", "type"])

    def unpack(text, kind):
        return np.frombuffer(base64.b64decode(text), dtype=kind)

    for axis, name in enumerate("xy"):
        span = packed[f"span{name.upper()}"]
        back = unpack(packed[name], "<u2") / 65_535 * span + points[:, axis].min()
        np.testing.assert_allclose(back, points[:, axis], atol=span / 65_535)
    assert sorted(unpack(packed["order"], "<u2")) == list(range(500))
    kind, score = packed["columns"]
    names = [*kind["names"], *[None] * (MISSING_CODE - len(kind["names"]) + 1)]
    assert kind["names"] == ["a", "b9", "b10"]
    assert [names[code] for code in unpack(kind["codes"], "<u2")] == list(types)
    np.testing.assert_allclose(unpack(score["values"], "<f4"), colours["score"], rtol=1e-6)
    assert packed["panels"] == [1, 0]


def test_a_name_has_one_colour_in_true_and_predicted_labels():
    colours = pd.DataFrame({"truth": ["a", "b", "c"], "predicted": ["c", "c", "b"], "donor": ["x", "y", "x"]})
    truth, predicted, donor = pack(np.eye(3)[:, :2], colours, panels=["truth"])["columns"]
    assert predicted["names"] == truth["names"] == ["a", "b", "c"]
    assert predicted["colours"] == truth["colours"]
    assert donor["names"] == ["x", "y"]
    assert list(np.frombuffer(base64.b64decode(predicted["codes"]), "<u2")) == [2, 2, 1]


def test_many_cells_are_thinned_in_order_and_seeded():
    cells = pd.DataFrame({"i": np.arange(MAX_CELLS + 1000)})
    kept = thin(cells, seed=3)["i"].to_numpy()
    assert len(kept) == MAX_CELLS
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(kept, thin(cells, seed=3)["i"])
    assert len(thin(cells.head(10))) == 10


def test_table_rounds_for_the_eye_only():
    data = pd.DataFrame(
        {"a": [0.123456, 1e-7, np.nan], "b": [1.5, 2.0, 1000.25], "n": [1, 2000, 3], "t": ["x", None, "<b>"]}
    )
    shown = table(data, name="t.csv")
    texts = [[cell["text"] for cell in row] for row in shown["rows"]]
    assert texts == [["0.123", "1.50", "1", "x"], ["1e-07", "2.00", "2,000", ""], ["", "1,000.25", "3", "<b>"]]
    assert [row[0]["raw"] for row in shown["rows"]] == ["0.123456", "1e-07", ""]
    zero = table(pd.DataFrame({"a": [-0.0, 0.123]}), name="t.csv")
    assert zero["rows"][0][0]["text"] == "0.000"
    long = table(pd.DataFrame({"a": np.arange(MAX_ROWS + 5)}), name="t.csv")
    assert (len(long["rows"]), long["n_rows"]) == (MAX_ROWS, MAX_ROWS + 5)


def test_settings_are_listed_with_dotted_names():
    assert flatten({"a": {"b": {"c": 1}, "d": None}, "e": []}) == [("a.b.c", "1"), ("a.d", ""), ("e", "")]


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3599.9, "1 h 0 min")]
)
def test_durations(value, words):
    assert seconds(value) == words


def test_features_are_packed_as_bytes_over_their_span():
    rng = np.random.default_rng(0)
    values = rng.gamma(1.0, 2.0, 300)
    values[7] = np.nan
    colours = pd.DataFrame({"type": ["a", "b"] * 150, "CD4": values, "flat": np.full(300, 3.0)})
    packed = pack(rng.random((300, 2)), colours, panels=["type"], features={"Genes": ["CD4", "flat"]})
    _, gene, flat = packed["columns"]
    assert (gene["kind"], gene["heading"], packed["hover"]) == ("feature", "Genes", [0])
    codes = np.frombuffer(base64.b64decode(gene["codes"]), dtype=np.uint8)
    assert codes[7] == MISSING_BYTE
    assert (np.delete(codes, 7) < MISSING_BYTE).all()
    back = gene["min"] + codes * (gene["max"] - gene["min"]) / (MISSING_BYTE - 1)
    np.testing.assert_allclose(np.delete(back, 7), np.delete(values, 7), atol=(gene["max"] - gene["min"]) / 500)
    assert (flat["min"], flat["max"]) == (3.0, 3.0)
    only = pack(rng.random((300, 2)), colours, panels=["type"], features={"Genes": ["CD4", "flat"]}, hover=["CD4"])
    assert only["hover"] == [1]


def test_names_that_look_like_numbers_stay_names(run_folder):
    record = json.loads((run_folder / "run.json").read_text())
    cells = pd.read_csv(run_folder / "cells.csv")
    cells["donor"] = "007"
    cells.to_csv(run_folder / "cells.csv", index=False)
    record["sections"][2]["options"]["names"] = ["donor"]
    (run_folder / "run.json").write_text(json.dumps(record))
    assert '"names": ["007"]' in report.render(run_folder).read_text()


def test_colours_are_not_taken_over_from_a_column_with_many_more_names():
    colours = pd.DataFrame({"type": ["a", "b"] * 10, "set": [f"a | {i}" if i > 1 else "ab"[i] for i in range(20)]})
    kind, _ = pack(np.zeros((20, 2)), colours, panels=["type"])["columns"]
    assert kind["names"] == ["a", "b"]


def test_paths_of_the_users_machine_are_not_spread(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    run = report.Run(title="R", command="scssl embed '/home/ada/my data/a.h5ad' --model /home/ada2/m")
    run.settings = {"model": "/home/ada/models/m", "files": ["/home/ada/x.h5ad"], "layer": "X"}
    run.data = [{"name": "/home/ada/my data/a.h5ad", "cells": 3}]
    html = report.write_page(run, folder=tmp_path).read_text()
    assert "/home/ada/" not in html
    assert "scssl embed &#39;~/my data/a.h5ad&#39; --model /home/ada2/m" in html
    assert 'data-v="~/my data/a.h5ad"' in html
    assert all(f'data-v="{value}"' in html for value in ("m", "x.h5ad", "X"))


def test_words_in_tables_are_broken_after_signs_only(tmp_path):
    run = report.Run(title="R", settings={"held_out.rejected_wrongly": "f" * 64, "short_name": "a<b"})
    html = report.write_page(run, folder=tmp_path).read_text()
    assert ">held_<wbr>out.<wbr>rejected_<wbr>wrongly</td>" in html
    assert f">{'f' * 24}<wbr>{'f' * 24}<wbr>{'f' * 16}</td>" in html
    assert ">short_name</td>" in html
    assert ">a&lt;b</td>" in html

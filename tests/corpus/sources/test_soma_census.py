"""The Census by version: a small copy of its layout, and a local server in place of its directory of releases."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.corpus import Corpus
from scssl.corpus.sources import soma_census
from scssl.corpus.sources.soma import expand
from scssl.corpus.sources.soma_census import PRESENCE
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.genes import load_panel

pa = pytest.importorskip("pyarrow", reason="tiledbsoma is not installed: pip install 'scssl[census]'")
soma = pytest.importorskip("tiledbsoma", reason="tiledbsoma is not installed: pip install 'scssl[census]'")

N_CELLS, N_GENES = 90, 120
SETS = ["set-a", "set-b", "set-c"]


def add_table(parent, key, frame):
    """Write a table, indexed by soma_joinid, into a collection."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    joinid = pa.field("soma_joinid", pa.int64(), nullable=False)
    schema = pa.schema([joinid if field.name == "soma_joinid" else field for field in table.schema])
    with parent.add_new_dataframe(key, schema=schema, domain=[[0, len(frame) - 1]]) as made:
        uri = made.uri
    with soma.open(uri, mode="w") as made:
        made.write(table.cast(schema))


def add_matrix(parent, key, matrix):
    matrix = sp.coo_matrix(matrix)
    with parent.add_new_sparse_ndarray(key, type=pa.from_numpy_dtype(matrix.data.dtype), shape=matrix.shape) as made:
        uri = made.uri
    with soma.open(uri, mode="w") as made:
        columns = {"soma_dim_0": matrix.row.astype(np.int64), "soma_dim_1": matrix.col.astype(np.int64)}
        made.write(pa.table({**columns, "soma_data": matrix.data}))


def add_organism(data, organism, species, rng):
    """Write an experiment as the Census does: dataset_id, donor_id, is_primary_data, nnz; each set lacks some genes."""
    ids = load_panel(species).ids[:N_GENES]
    of_set = np.sort(rng.integers(0, 3, N_CELLS))
    presence = np.ones((3, N_GENES), dtype=np.uint8)
    for number in range(3):
        presence[number, number * 10 : number * 10 + 10] = 0
    X = rng.poisson(1.0, (N_CELLS, N_GENES)).astype(np.float32) * presence[of_set]
    obs = pd.DataFrame(
        {
            "soma_joinid": np.arange(N_CELLS),
            "dataset_id": pd.Categorical(np.array(SETS)[of_set]),
            "donor_id": pd.Categorical(rng.choice([f"donor{i}" for i in range(9)], N_CELLS)),
            "cell_type": pd.Categorical(rng.choice(["T cell", "B cell"], N_CELLS)),
            "is_primary_data": rng.random(N_CELLS) < 0.8,
            "nnz": (X > 0).sum(axis=1),
        }
    )
    var = pd.DataFrame({"soma_joinid": np.arange(N_GENES), "feature_id": ids, "feature_name": ids})
    with data.add_new_collection(organism, soma.Experiment) as experiment:
        add_table(experiment, "obs", obs)
        with experiment.add_new_collection("ms") as ms, ms.add_new_collection("RNA", soma.Measurement) as rna:
            add_table(rna, "var", var)
            with rna.add_new_collection("X") as layers:
                add_matrix(layers, "raw", X)
            add_matrix(rna, PRESENCE, presence)
    return X, obs, var, presence


@pytest.fixture(scope="module")
def census(tmp_path_factory):
    """(folder, what is in it per organism)."""
    folder = tmp_path_factory.mktemp("census") / "soma"
    rng = np.random.default_rng(0)
    with soma.Collection.create(str(folder)) as root:
        with root.add_new_collection("census_info") as about:
            add_table(about, "datasets", pd.DataFrame({"soma_joinid": np.arange(3), "dataset_id": SETS}))
        with root.add_new_collection("census_data") as data:
            held = {o: add_organism(data, o, s, rng) for s, o in soma_census.ORGANISMS.items()}
    return folder, held


@pytest.fixture
def directory(census, monkeypatch):
    """What the server says; may be changed by a test."""
    uri = str(census[0])
    old = {"release_build": "2025-01-30", "soma": {"uri": f"{uri}/", "s3_region": "us-west-2"}, "flags": {"lts": True}}
    new = {"release_build": "2025-11-08", "soma": {"uri": "s3://gone/", "relative_uri": "/soma/", "s3_region": "x"}}
    bad = {**old, "release_build": "2023-12-15", "flags": {"retracted": True}}
    bad["retraction"] = {"reason": "wrong counts", "replaced_by": "2025-01-30"}
    answers = {
        "/release.json": {"stable": "2025-01-30", "2025-01-30": old, "latest": new, "2023-12-15": bad},
        "/mirrors.json": {
            "default": "here",
            "here": {"provider": "file", "base_uri": str(census[0].parent), "region": ""},
        },
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            said = answers.get(self.path)
            body = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(200 if said is not None else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in ("release", "mirrors"):
        url = f"http://127.0.0.1:{server.server_port}/{name}.json"
        monkeypatch.setattr(soma_census, "RELEASES" if name == "release" else "MIRRORS", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield answers
    server.shutdown()
    thread.join()
    server.server_close()


def find(origin, *, genes="human", columns=("dataset_id", "donor_id"), where="is_primary_data == True", **options):
    return expand([origin], columns=columns, where=where, genes=genes, **options)


@pytest.mark.parametrize(
    ("origin", "genes", "date", "organism"),
    [
        ("census:2025-01-30", "human", "2025-01-30", "homo_sapiens"),
        ("census:stable", "mouse", "2025-01-30", "mus_musculus"),
        ("census:stable/mus_musculus", "human", "2025-01-30", "mus_musculus"),
        ("census:stable/homo_sapiens", "union", "2025-01-30", "homo_sapiens"),
        ("census:latest", "human", "2025-11-08", "homo_sapiens"),
    ],
)
def test_versions_and_organisms(census, directory, origin, genes, date, organism):
    (cells,) = find(origin, genes=genes)
    X, obs, var, _ = census[1][organism]
    primary = obs["is_primary_data"].to_numpy()
    assert cells.experiment == f"census-{date}-{organism}"
    with open_source(cells) as source:
        assert np.array_equal(np.concatenate([part.toarray() for _, part in source.chunks(20)]), X[primary])
        assert source.nnz == (X[primary] > 0).sum()
        assert source.obs.index.tolist() == [str(i) for i in np.flatnonzero(primary)]
        assert source.obs.columns.tolist() == ["dataset_id", "donor_id", "is_primary_data"]
        assert source.obs["donor_id"].tolist() == obs["donor_id"][primary].tolist()
        assert source.var.index.tolist() == var["feature_id"].tolist()
        assert source.layer == "RNA/raw"


def test_what_each_data_set_measured(census, directory):
    (cells,) = find("census:stable", where="dataset_id in ['set-a', 'set-c']")
    presence = census[1]["homo_sapiens"][3]
    with open_source(cells) as source:
        table = source.uns(PRESENCE)
        assert table.columns.tolist() == ["set-a", "set-c"]
        assert table.index.tolist() == source.var.index.tolist()
        assert np.array_equal(table.to_numpy(), presence[[0, 2]].T == 1)
        with pytest.raises(DataError, match=rf"has no uns\['other'\]; of such tables it has: uns\['{PRESENCE}'\]"):
            source.uns("other")
    with open_source(cells, obs_columns=["donor_id"]) as source:
        assert source.uns(PRESENCE).columns.tolist() == SETS


def test_a_corpus_of_the_census(census, directory, tmp_path):
    corpus = Corpus.build(
        ["census:stable/homo_sapiens"],
        tmp_path / "corpus",
        genes="union",
        obs=["cell_type"],
        source="dataset_id",
        measured=f"uns:{PRESENCE}",
        split_by="donor_id",
        where="is_primary_data == True",
    )
    _, obs, _, presence = census[1]["homo_sapiens"]
    info = corpus.info()
    assert info["cells"] == obs["is_primary_data"].sum()
    assert sorted(source["name"] for source in info["sources"]) == SETS
    assert [source["n_genes"] for source in info["sources"]] == presence.sum(axis=1).tolist()


def test_a_hint_names_what_was_not_given(directory, caplog):
    with caplog.at_level("INFO", logger="scssl"):
        find("census:stable", columns=["cell_type"], where=None)
    (said,) = [r.getMessage() for r in caplog.records if "you may want" in r.getMessage()]
    for option in (
        "is_primary_data == True",
        "--source dataset_id",
        f"--measured uns:{PRESENCE}",
        "--split-by donor_id",
    ):
        assert option in said
    assert "census:stable is the release of 2025-01-30" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", logger="scssl"):
        find("census:2025-01-30", measured=f"uns:{PRESENCE}")
    assert "you may want" not in caplog.text
    assert "is the release of" not in caplog.text


def test_a_retracted_version_is_named(directory, caplog):
    with caplog.at_level("WARNING", logger="scssl"):
        find("census:2023-12-15")
    assert "has been retracted (wrong counts); it was replaced by 2025-01-30" in caplog.text


def test_a_version_or_organism_that_is_not_there(directory):
    with pytest.raises(
        SettingsError, match=r"no version '2019' of the Census; there are: stable, 2023-12-15, 2025-01-30"
    ):
        find("census:2019")
    with pytest.raises(SettingsError, match="has no 'danio_rerio'; it has: homo_sapiens, mus_musculus"):
        find("census:stable/danio_rerio")
    for genes in ("union", "hvg:2000"):
        with pytest.raises(SettingsError, match="of which organism"):
            find("census:stable", genes=genes)


def test_a_directory_that_cannot_be_read(directory, monkeypatch):
    directory["/release.json"] = "<html>"
    with pytest.raises(DataError, match="directory of the Census cannot be read"):
        find("census:stable")
    directory["/release.json"] = [1]
    with pytest.raises(DataError, match="is no directory of the Census"):
        find("census:stable")
    directory["/release.json"] = {"stable": {"soma": {"s3_region": "x"}}}
    with pytest.raises(DataError, match="does not say where the data are"):
        find("census:stable")
    monkeypatch.setattr(soma_census, "RELEASES", "http://127.0.0.1:9/release.json")
    with pytest.raises(DataError, match=r"cannot be read .*Check the network; a local copy"):
        find("census:stable")


def test_a_bucket_is_read_without_an_account():
    locator = {"uri": "s3://bucket/soma/", "s3_region": "eu-west-1"}
    assert soma_census._location(locator, origin="census:x") == ("s3://bucket/soma/", "eu-west-1")
    from scssl.corpus.sources.soma_experiment import context

    settings = context("eu-west-1").tiledb_config
    assert settings["vfs.s3.no_sign_request"] == "true"
    assert settings["vfs.s3.region"] == "eu-west-1"
    assert "vfs.s3.no_sign_request" not in context(None).tiledb_config


def test_a_local_copy_is_told_where_its_experiments_are(census):
    with pytest.raises(DataError, match=r"give one of its experiments, e\.g\. .*/census_data/homo_sapiens"):
        find(census[0])
    (cells,) = find(census[0] / "census_data" / "homo_sapiens")
    with open_source(cells) as source:
        assert source.uns(PRESENCE).shape == (N_GENES, 3)

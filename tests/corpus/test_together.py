"""One corpus, used by several processes at the same time."""

import json
import subprocess
import sys

import numpy as np

import scssl

# Says which cells it read, in an order of its own, and what it made of the counts.
READER = """
import json, sys
import scssl
corpus = scssl.Corpus.open(sys.argv[1])
cells, total = [], 0.0
for epoch in range(3):
    for batch in corpus.loader(split="train", batch_size=32, seed=int(sys.argv[2])):
        cells += batch.cell.tolist()
        total += float(batch.values.float().sum())
print(json.dumps([sorted(set(cells)), len(cells), total]))
"""


def test_readers_do_not_disturb_each_other(corpus_dir):
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(corpus_dir), str(seed)], stdout=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    corpus = scssl.Corpus.open(corpus_dir)
    expected = list(corpus.loader(split="train", batch_size=64, shuffle=False))
    cells = np.concatenate([batch.cell.numpy() for batch in expected]).tolist()
    total = sum(float(batch.values.float().sum()) for batch in expected)
    for reader in readers:
        said, _ = reader.communicate(timeout=120)
        assert reader.returncode == 0
        assert json.loads(said) == [sorted(cells), 3 * len(cells), 3 * total]


def test_who_reads_while_cells_are_added_reads_what_was_there(atlas, tmp_path):
    atlas.write_h5ad(tmp_path / "a.h5ad")
    more = scssl.datasets.simulate_atlas(200, atlas.n_vars, seed=9)
    more.obs_names = [f"new{i}" for i in range(more.n_obs)]
    more.var_names = atlas.var_names
    more.write_h5ad(tmp_path / "b.h5ad")
    corpus = scssl.Corpus.build(tmp_path / "a.h5ad", tmp_path / "corpus", genes="union", split_by="cell")
    before = corpus.n_cells("train")
    loader = iter(corpus.loader(split="train", batch_size=16, seed=0))
    seen = next(loader).cell.tolist()
    scssl.Corpus.open(tmp_path / "corpus").append(tmp_path / "b.h5ad")
    for batch in loader:
        seen += batch.cell.tolist()
    assert len(seen) == len(set(seen)) == before
    assert scssl.Corpus.open(tmp_path / "corpus").n_cells("train") > before

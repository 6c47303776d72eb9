import json
import re
import subprocess
import sys

import pytest

import scssl
from scssl.training.estimate import GATHERED_BYTES, memory

# Reports the estimate of a run and what the run then took.
RUN = """
import json, re, sys, logging
import scssl
logging.getLogger("scssl").addHandler(logging.StreamHandler(sys.stderr))
logging.getLogger("scssl").setLevel(logging.INFO)
scssl.pretrain(sys.argv[1], max_epochs=1, device="cpu")
# Not ru_maxrss: a new program inherits that of the process that started it.
status = open("/proc/self/status").read()
print(json.dumps(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024 / 1e9))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there /proc tells the most memory")
@pytest.mark.parametrize("kind", ["file", "corpus"])
def test_the_memory_is_about_what_was_said(tmp_path, kind):
    scssl.datasets.simulate_atlas(3000, 2000, seed=0).write_h5ad(tmp_path / "a.h5ad")
    if kind == "corpus":
        scssl.Corpus.build(tmp_path / "a.h5ad", tmp_path / "corpus", split_by="donor")
    data = tmp_path / ("corpus" if kind == "corpus" else "a.h5ad")
    done = subprocess.run([sys.executable, "-c", RUN, str(data)], capture_output=True, text=True, check=True)
    said = float(re.search(r"([\d.]+) GB of memory", done.stderr)[1])
    assert json.loads(done.stdout) == pytest.approx(said, rel=0.2)


def test_memory_grows_with_what_it_should(corpus_dir, atlas):
    stored = scssl.Corpus.open(corpus_dir)
    least = memory(stored, n_parameters=10**6, batch_size=64)
    assert memory(stored, n_parameters=10**8, batch_size=64) > least + 16 * 0.99e8
    assert memory(stored, n_parameters=10**6, batch_size=512) > least + 4 * 448 * len(stored.panel)
    held = scssl.Corpus.from_anndata(atlas, genes="union", source="study")
    assert memory(held, n_parameters=10**6, batch_size=64) > GATHERED_BYTES + 0.9 * least

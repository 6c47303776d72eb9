"""Feed damaged files to the readers, led by which lines they reach, until one fails otherwise than in scssl's words.

    pip install atheris
    python scripts/fuzz.py                                   # the names of what is read
    python scripts/fuzz.py corpus -max_total_time=180        # and whatever else libFuzzer takes

Starts from what earlier versions wrote (tests/archives). tests/fuzz does the same without such a lead.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import atheris

REPOSITORY = Path(__file__).resolve().parent.parent
# Some package installs a `tests` of its own.
sys.modules["tests"] = ModuleType("tests")
sys.modules["tests"].__path__ = [str(REPOSITORY / "tests")]
# Not what numba compiles: it does not understand bytecode that counts lines.
WATCHED = ["scssl.corpus.format", "scssl.genes", "scssl.ontology", "scssl.report", "scssl.tasks", "scssl.model.files"]
with atheris.instrument_imports(include=[*WATCHED, "scssl.model.capsule", "scssl.cli._verify"]):
    from hypothesis import given, settings

    import scssl
    from scssl.cli._verify import verify_run
    from scssl.corpus import Corpus
    from scssl.corpus.format.verify import verify_folder
    from scssl.genes import GenePanel
    from scssl.genes.gmt import read_gmt
    from scssl.genes.regulators import read_targets
    from scssl.model.capsule import FILE as CAPSULE
    from scssl.model.capsule import write_capsule
    from scssl.ontology import CellOntology
    from scssl.report import render
    from scssl.report.run import FILE as RUN
    from scssl.report.run import Run
    from scssl.tasks.annotate.labels import read_label_map
    from tests.fuzz import test_text
    from tests.fuzz.damage import damaged_json, read_or_refused

ARCHIVE = REPOSITORY / "tests" / "archives" / "0.1"
BLANK = "0" * 64


def corpus(folder):
    """Read all that a corpus says of itself and its cells."""
    opened = Corpus.open(folder)
    return opened.obs(), opened.groups(), opened.info(), [shard.rows(0, shard.n_cells) for shard in opened.shards]


def task(name):
    """Return what reads the saved task of this name."""
    classes = {"translator_head": "Translator", "similar": "SimilarCells", "comparison": "Comparer"}
    return getattr(scssl.tasks, classes.get(name, name.capitalize())).load


RUN_FOLDER = {RUN: json.dumps(Run(title="T", command="scssl demo", summary=["It worked."]).to_dict())}
# JSON by the folder that it is read with, its name, and who reads it.
SETTINGS = {
    "corpus": (ARCHIVE / "corpus", "corpus.json", corpus),
    "verify": (ARCHIVE / "corpus", "corpus.json", verify_folder),
    "model": (ARCHIVE / "model", "config.json", scssl.load),
    "capsule": ({CAPSULE: ""}, CAPSULE, lambda folder: verify_run(folder, corpus=None)),
    "run": (RUN_FOLDER, RUN, lambda folder: render(folder, overwrite=True)),
    **{
        folder.name: (folder, next(folder.glob("*.json")).name, task(folder.name))
        for folder in sorted((ARCHIVE / "tasks").iterdir())
        if folder.is_dir()
    },
}
# Other files by their name, an example, and who reads them.
FILES = {
    "weights": ("model.safetensors", (ARCHIVE / "model" / "model.safetensors").read_bytes(), None),
    "gmt": ("a.gmt", test_text.GMT, read_gmt),
    "panel": ("a.csv", test_text.TABLE, GenePanel.from_file),
    "names": ("a.txt", test_text.NAMES, GenePanel.from_file),
    "targets": ("a.csv", test_text.TARGETS, read_targets),
    "map": ("a.csv", test_text.MAP, read_label_map),
    "yaml": ("a.yaml", test_text.YAML, read_label_map),
    "ontology": ("a.obo", test_text.OBO, CellOntology.open),
}


def of_settings(name, scratch, start):
    """Return the function that libFuzzer calls: its bytes choose what is changed in the JSON of a folder."""
    source, file, reader = SETTINGS[name]
    # Short ones choose nothing.
    for seed in range(20):
        (start / f"{seed}").write_bytes(random.Random(seed).randbytes(400))
    folder = scratch / "a"
    if isinstance(source, Path):
        shutil.copytree(source, folder)
    else:
        folder.mkdir()
        for made, text in source.items():
            (folder / made).write_text(text)
        if CAPSULE in source:
            nothing = {key: {"a": 1} for key in ("settings", "seeds", "genes", "metrics")}
            inputs = [{"name": "a", "path": "/nowhere/a", "bytes": 3, "sha256": "0"}]
            write_capsule(folder, what="study", data={"inputs": inputs}, **nothing)
    content = json.loads((folder / file).read_text())
    if name == "model":
        content.pop("files", None)

    @given(damaged_json(content))
    @settings(database=None)
    def test(changed):
        text = json.dumps(changed)
        if isinstance(changed, dict) and "sha256" in content:
            # With a checksum that fits, as somebody who means harm would write it.
            text = json.dumps({**changed, "sha256": BLANK}, indent=1)
            text = text.replace(BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)
        (folder / file).write_text(text)
        read_or_refused(reader, folder)

    return test.hypothesis.fuzz_one_input


def of_file(name, scratch, start):
    """Return the function that libFuzzer calls: its bytes are the file."""
    file, example, reader = FILES[name]
    (start / "example").write_bytes(example)
    folder = scratch / "a"
    folder.mkdir()
    if name == "weights":
        folder.rmdir()
        shutil.copytree(ARCHIVE / "model", folder)
        config = json.loads((folder / "config.json").read_text())
        config.pop("files", None)
        (folder / "config.json").write_text(json.dumps(config))

    def test(data):
        (folder / file).write_bytes(data)
        read_or_refused(reader or (lambda path: scssl.load(path.parent)), folder / file)

    return test


def main():
    """Fuzz what the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in (*SETTINGS, *FILES):
        sys.exit(f"usage: python scripts/fuzz.py {{{','.join((*SETTINGS, *FILES))}}} [options of libFuzzer]")
    name = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="scssl-fuzz-") as made:
        scratch, start = Path(made), Path(made) / "start"
        start.mkdir()
        test = of_settings(name, scratch, start) if name in SETTINGS else of_file(name, scratch, start)
        # Without a limit of its own, libFuzzer counts torch as a leak.
        atheris.Setup(
            [sys.argv[0], "-rss_limit_mb=0", "-timeout=60", "-len_control=0", *sys.argv[2:], str(start)], test
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()

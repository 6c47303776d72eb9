"""Corpora and models that are missing, truncated, altered, or something else, in every command that reads them."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.faults.commands import all_refused, that_read_a_corpus, that_read_a_model

LARGE = 16
"""Bytes that are cut off a file."""


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-LARGE])


def binary(path):
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


def nested(path):
    path.write_bytes(b"[" * 100_000)


def header(path):
    """A safetensors file that announces a header of an exabyte."""
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")


def edited(**changes):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


SHARD = "train/shard-00000.zarr"
CORPORA = {
    "no manifest": ("corpus.json", missing, "not a corpus"),
    "empty manifest": ("corpus.json", empty, "truncated or altered"),
    "binary manifest": ("corpus.json", binary, "truncated or altered"),
    "nested manifest": ("corpus.json", nested, "truncated or altered"),
    "later version": ("corpus.json", edited(version=99), "pip install -U scssl"),
    "altered manifest": ("corpus.json", edited(report={}), "was altered"),
    "no genes": ("genes.tsv", missing, "genes.tsv"),
    "truncated genes": ("genes.tsv", truncated, "genes.tsv"),
    "truncated table": ("measured.npy", truncated, "measured.npy"),
    "truncated counts": (f"{SHARD}/X/data/c/0", truncated, "X/data/c/0"),
    "no counts": (f"{SHARD}/X/data/c/0", missing, "X/data/c/0"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_corpora_that_were_altered(base, tmp_path, out, capsys, name):
    file, damage, words = CORPORA[name]
    shutil.copytree(base.corpus, tmp_path / "corpus ü")
    damage(tmp_path / "corpus ü" / file)
    commands = that_read_a_corpus(base, tmp_path / "corpus ü", out)
    names = [] if name == "truncated genes" else ["corpus ü"]
    verified = {"verify": commands.pop("verify")}
    all_refused(capsys, commands, out=out, words=words, names=names, untouched=[tmp_path])
    all_refused(capsys, verified, out=out, words=words, untouched=[tmp_path])


def test_something_else_as_the_corpus(base, tmp_path, out, capsys):
    for place, words in ((base.model, "not a corpus"), (base.file, "not a corpus"), (tmp_path / "none", "no such")):
        commands = that_read_a_corpus(base, place, out)
        kept = {name: commands[name] for name in ("info", "verify", "append", "audit")}
        all_refused(capsys, kept, out=out, words=words, names=[place], untouched=[base.model])


MODELS = {
    "no config": ("config.json", missing, "is not a model"),
    "empty config": ("config.json", empty, "config.json is not JSON"),
    "binary config": ("config.json", binary, "config.json is not JSON"),
    "nested config": ("config.json", nested, "config.json is not JSON"),
    "later version": ("config.json", edited(format_version=99), "pip install -U scssl"),
    "incomplete config": ("config.json", edited(sources=None), "config.json is incomplete"),
    "no weights": ("model.safetensors", missing, "model.safetensors"),
    "truncated weights": ("model.safetensors", truncated, "model.safetensors"),
    "huge header": ("model.safetensors", header, "model.safetensors"),
    "no genes": ("genes.tsv", missing, "genes.tsv"),
    "truncated genes": ("genes.tsv", truncated, "genes.tsv"),
    "binary genes": ("genes.tsv", binary, "genes.tsv"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_were_altered(base, tmp_path, out, capsys, name):
    file, damage, words = MODELS[name]
    shutil.copytree(base.model, tmp_path / "model ü")
    damage(tmp_path / "model ü" / file)
    commands = that_read_a_model(base, tmp_path / "model ü", out)
    all_refused(capsys, commands, out=out, words=words, names=["model ü"], untouched=[tmp_path, base.corpus])


def test_something_else_as_the_model(base, tmp_path, out, capsys):
    for place, words in ((base.corpus, "is not a model"), (base.file, "no such model folder")):
        all_refused(
            capsys, that_read_a_model(base, place, out), out=out, words=words, names=[place], untouched=[base.corpus]
        )


def test_links_that_lead_to_themselves(base, tmp_path, out, capsys):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for place in (tmp_path / "loop", tmp_path / "a"):
        commands = {
            **that_read_a_model(base, place, out),
            **{f"corpus {name}": argv for name, argv in that_read_a_corpus(base, place, out).items()},
            "labels": ["labels", place, "--labels", "cell_type", "--out", out / "l.csv"],
            "verify a run": ["verify", place],
            "report": ["report", place, "--out", out / "report.html"],
        }
        all_refused(capsys, commands, out=out, words="", names=[place.name], untouched=[base.corpus])


@pytest.mark.parametrize("damage", [missing, truncated])
@pytest.mark.parametrize(("kind", "settings"), [("annotator", "annotator.json"), ("search", "similar.json")])
def test_saved_tasks_that_were_altered(base, tmp_path, out, capsys, kind, settings, damage):
    saved = getattr(base, kind)
    command = {"annotator": ["annotate", base.file, "--out", out / "o.h5ad"]}
    command["search"] = ["similar", base.file, "--out", out / "o.csv"]
    for file in sorted(file for file in saved.rglob("*") if file.is_file() and file.name != "README.md"):
        place = tmp_path / file.relative_to(saved).as_posix().replace("/", "-")
        shutil.copytree(saved, place)
        damage(place / file.relative_to(saved))
        if file.name == settings and damage is missing:
            continue  # then it is a model folder without a model
        commands = {kind: [*command[kind], "--model", place]}
        all_refused(capsys, commands, out=out, words=file.name, names=[place], untouched=[place])


def test_report_of_a_damaged_run(base, tmp_path, out, capsys):
    shutil.copytree(base.model, tmp_path / "model")
    for damage in (empty, binary):
        damage(tmp_path / "model" / "history.csv")
        commands = {"report": ["report", tmp_path / "model", "--out", out / "report.html"]}
        all_refused(capsys, commands, out=out, words="history.csv", names=[tmp_path], untouched=[tmp_path / "model"])

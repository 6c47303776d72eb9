"""What is at the output already, what cannot be written, and options that are not possible."""

from __future__ import annotations

import errno
import shutil

import anndata
import pytest

from tests.faults.commands import (
    all_refused,
    content,
    refused,
    that_read_a_corpus,
    that_read_a_model,
    that_read_cells,
    without_privileges,
)

WRITE_A_FOLDER = ("build", "pretrain", "study target")


def writing(base, out):
    """Commands that write, with where they do."""
    commands = that_read_cells(base, base.file, out)
    kept = ("build", "pretrain", "embed", "annotate", "similar", "integrate", "reconstruct", "study target")
    commands = {name: commands[name] for name in kept}
    return {name: (argv, argv[argv.index("--out") + 1]) for name, argv in commands.items()}


def placed(argv, place):
    at = argv.index("--out") + 1
    return [*argv[:at], place, *argv[at + 1 :]]


@pytest.fixture
def thesis(tmp_path):
    """A file and a folder that must survive."""
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("mine")
    for suffix in ("h5ad", "csv"):
        (tmp_path / f"thesis.{suffix}").write_text("mine")
    return folder


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_what_exists_is_not_replaced(base, tmp_path, out, capsys, thesis, options):
    commands = {}
    for name, (argv, place) in writing(base, out).items():
        if name in WRITE_A_FOLDER:
            commands[name] = [*placed(argv, thesis), *options]
        elif not options:
            commands[name] = placed(argv, thesis.with_suffix(place.suffix))
    all_refused(capsys, commands, out=out, words="", names=["thesis"], untouched=[tmp_path, base.file])


def test_places_that_cannot_be_written(base, tmp_path, out, capsys, thesis):
    """A file where a folder would be needed."""
    file = thesis / "chapter.txt"
    commands = {name: placed(argv, file / "x" / place.name) for name, (argv, place) in writing(base, out).items()}
    all_refused(capsys, commands, out=out, words="", names=[file], untouched=[tmp_path, base.file])


SIDE = {
    "--save": ("annotate", "similar", "integrate", "reconstruct"),
    "--figures": ("integrate", "reconstruct"),
    "--explain": ("annotate",),
}


def test_places_of_side_results_that_cannot_be_written(base, tmp_path, out, capsys, thesis):
    """Found before the work, not after it."""
    file = thesis / "chapter.txt"
    commands = that_read_cells(base, base.file, out)
    for option, names in SIDE.items():
        chosen = {f"{name} {option}": [*commands[name], option, file / "x"] for name in names}
        all_refused(capsys, chosen, out=out, words="", names=[file], untouched=[tmp_path, base.file])


def test_folders_without_permission(base, tmp_path, out, capsys):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    commands = {name: placed(argv, locked / place.name) for name, (argv, place) in writing(base, out).items()}
    expected = {"out": out, "words": "", "names": [locked], "untouched": [tmp_path, base.file]}
    without_privileges(lambda: all_refused(capsys, commands, **expected))


def test_files_without_permission(base, tmp_path, out, capsys):
    hidden, model, corpus = (tmp_path / name for name in ("hidden.h5ad", "model", "corpus"))
    shutil.copy(base.file, hidden)
    shutil.copytree(base.model, model)
    shutil.copytree(base.corpus, corpus)
    for file in (hidden, model / "model.safetensors", corpus / "genes.tsv"):
        file.chmod(0)
    every = {
        hidden: that_read_cells(base, hidden, out),
        model / "model.safetensors": that_read_a_model(base, model, out),
        corpus / "genes.tsv": that_read_a_corpus(base, corpus, out),
    }
    for file, commands in every.items():
        expected = {"out": out, "words": "", "names": [file.name]}
        without_privileges(lambda commands=commands, expected=expected: all_refused(capsys, commands, **expected))


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device", "the output")


FULL = {
    "build": ("scssl.corpus.build.passes.write_shard",),
    "pretrain": ("safetensors.torch.save_file",),
    "embed": ("anndata.io.write_elem", "shutil.copyfile"),
    "annotate": ("anndata.io.write_elem", "shutil.copyfile"),
    "similar": ("pandas.DataFrame.to_csv",),
}


@pytest.mark.parametrize("name", FULL)
def test_a_disk_that_runs_full(base, out, capsys, monkeypatch, name):
    argv, place = writing(base, out)[name]
    for function in FULL[name]:
        with monkeypatch.context() as patch:
            patch.setattr(function, no_space)
            refused(capsys, argv, words="Free some space", untouched=[base.file])
        assert not place.exists() or not (place / "config.json").exists()
        left = [path.name for path in out.iterdir()]
        # What a build has read so far is kept, to be gone on with; a run keeps its checkpoints.
        assert left == {"build": [".c.building"], "pretrain": ["m"]}.get(name, [])


def test_too_small_a_disk_is_found_beforehand(base, out, capsys, monkeypatch):
    usage = shutil.disk_usage(out)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    commands = {name: argv for name, (argv, _) in writing(base, out).items() if name in ("build", "embed", "annotate")}
    all_refused(capsys, commands, out=out, words="Free some space", untouched=[base.file])


def test_a_model_survives_a_disk_that_runs_full_while_it_is_replaced(base, tmp_path, capsys, monkeypatch):
    import scssl

    shutil.copytree(base.model, tmp_path / "model")
    model, before = scssl.load(tmp_path / "model"), content(tmp_path)
    monkeypatch.setattr("safetensors.torch.save_file", no_space)
    with pytest.raises(OSError, match="No space"):
        model.save(tmp_path / "model", overwrite=True)
    assert content(tmp_path) == before


def test_what_is_read_is_never_written_over(base, cells, tmp_path, capsys):
    zarr, other, corpus = tmp_path / "a.zarr", tmp_path / "r.h5ad", tmp_path / "c"
    with anndata.settings.override(zarr_write_format=3):
        cells.write_zarr(zarr)
    shutil.copy(base.file, other)
    shutil.copytree(base.corpus, corpus)
    model, labels = ("--model", base.model), ("--labels", "cell_type")
    shard = next((corpus / "train").iterdir())
    for argv in (
        ["embed", zarr, *model, "--out", zarr / "o.h5ad"],
        ["embed", other, *model, "--out", base.model / "o.h5ad"],
        ["annotate", zarr, *model, "--reference", other, *labels, "--out", other, "--overwrite"],
        ["annotate", other, *model, "--reference", zarr, *labels, "--out", zarr / "o.h5ad"],
        ["similar", other, *model, "--reference", corpus, "--out", corpus / "o.csv"],
        ["corpus", "build", zarr, "--out", zarr / "c"],
        ["corpus", "build", shard, "--out", corpus, "--overwrite", "--split-by", "cell"],
        ["pretrain", base.corpus, "--out", base.corpus, "--overwrite"],
        ["pretrain", base.corpus, "--out", base.corpus / "m"],
        ["study", corpus, "--target", other, *labels, "--donor", "donor", "--out", corpus / "s"],
    ):
        message = refused(capsys, argv, words="", untouched=[tmp_path, base.corpus, base.model])
        assert "choose another" in message or "give another name" in message


OPTIONS = {
    "batch size 0": ("embed", ["--batch-size", "0"], "batch_size=0"),
    "batch size -1": ("embed", ["--batch-size", "-1"], "batch_size=-1"),
    "key with a slash": ("embed", ["--key-added", "a/b"], "without '/'"),
    "key of dots": ("annotate", ["--key-added", ".."], "without '/'"),
    "k 0": ("annotate", ["--k", "0"], "k is 0"),
    "k too large": ("annotate", ["--k", "121"], "lower k"),
    "label map": ("annotate", ["--truth", "cell_type", "--label-map", "MAP"], "cannot be read"),
    "seed": ("build", ["--seed", "-1"], "seed is -1"),
    "val": ("build", ["--val", "nan"], "val=nan"),
    "where": ("build", ["--where", "not " * 3000 + "batch"], "is not a condition"),
    "hvg": ("build", ["--genes", "hvg:²"], "write hvg:N"),
    "hvg huge": ("build", ["--genes", f"hvg:{'9' * 5000}"], "write hvg:N"),
    "device": ("embed", ["--device", "abacus"], "cpu"),
    "columns": ("similar", ["--columns", "nothing"], "no column 'nothing'"),
    "study seed": ("study target", ["--seed", "-1"], "seed"),
    "set": ("pretrain", ["--set", "training.nothing=1"], "nothing"),
    "set value": ("pretrain", ["--set", "training.epochs=many"], "epochs"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_are_not_possible(base, tmp_path, out, capsys, name):
    command, options, words = OPTIONS[name]
    (tmp_path / "map.yaml").write_text("a: [")  # YAML says in several lines what is wrong with it
    argv = [*that_read_cells(base, base.file, out)[command], *options]
    all_refused(
        capsys, {name: [tmp_path / "map.yaml" if word == "MAP" else word for word in argv]}, out=out, words=words
    )


def test_demo_with_a_seed_below_zero(tmp_path, out, capsys):
    all_refused(capsys, {"demo": ["demo", "--out", out / "d", "--seed", "-1"]}, out=out, words="seed=-1")

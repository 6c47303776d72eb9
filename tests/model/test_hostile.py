"""Model folders made to do harm: nothing in them is executed, nothing outside is read, nothing large is allocated."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import scssl
from scssl.cli.app import main
from scssl.errors import ScsslError
from scssl.model.capsule import write_capsule
from scssl.model.verify import verify_model

MEGABYTES = 300
"""More than this is not allocated to refuse a folder."""
READ: list[str] = []
RAN: list[str] = []


def _listen(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        READ.append(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
    elif event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class"):
        RAN.append(event)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("hostile") / "model"
    adata = scssl.datasets.simulate_atlas(300, 60, seed=2)
    shape = ["architecture.hidden=[8]", "architecture.n_latent=4"]
    scssl.pretrain(adata, preset="small", genes="union", max_epochs=1, overrides=shape, out=out, device="cpu")
    return out


@pytest.fixture(scope="module")
def heard():
    """Calls that a program could make, of the whole process; audit hooks cannot be taken away again."""
    sys.addaudithook(_listen)
    return READ, RAN


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "copy")


def edit(folder, change, *, name="config.json"):
    file = folder / name
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def setting(where, value):
    def change(folder):
        def inner(content):
            *parents, last = where.split(".")
            for parent in parents:
                content = content[parent]
            content[last] = value

        edit(folder, inner)

    return change


def replaced(name, content):
    def change(folder):
        (folder / name).unlink()
        (folder / name).write_bytes(content)

    return change


def linked(name, target):
    def change(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return change


def sparse(name, size):
    """A file that claims to be huge, and takes no room."""

    def change(folder):
        with (folder / name).open("r+b") as file:
            file.truncate(size)

    return change


def header(entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


class _Program:
    def __reduce__(self):
        return os.system, ("touch /tmp/scssl-was-executed",)


def queue(folder):
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def retyped(folder):
    weights = {name: value.to(torch.int64) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")


HUGE = {"encoder.code.bias": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
DAMAGE = {
    "weights are a pickle": replaced("model.safetensors", pickle.dumps(_Program())),
    "config is a pickle": replaced("config.json", pickle.dumps(_Program())),
    "genes are a pickle": replaced("genes.tsv", pickle.dumps(_Program())),
    "header of 2^63 bytes": replaced("model.safetensors", b"\xff" * 7 + b"\x7f{}"),
    "header longer than the file": replaced("model.safetensors", (10**8).to_bytes(8, "little") + b"{}"),
    "tensor of a terabyte": replaced("model.safetensors", header(HUGE)),
    "tensor of negative size": replaced(
        "model.safetensors", header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}) + b"1234"
    ),
    "weights of other numbers": retyped,
    "a queue in place of weights": queue,
    "an endless device in place of weights": linked("model.safetensors", "/dev/zero"),
    "an endless device in place of genes": linked("genes.tsv", "/dev/zero"),
    "an endless device in place of settings": linked("config.json", "/dev/zero"),
    "genes from elsewhere": linked("genes.tsv", "/etc/passwd"),
    "settings from elsewhere": linked("config.json", "/etc/passwd"),
    "weights from elsewhere": linked("model.safetensors", "/etc/passwd"),
    "settings of a terabyte": sparse("config.json", 2**40),
    "genes of a terabyte": sparse("genes.tsv", 2**40),
    "layers too wide for any memory": setting("config.architecture.hidden", [65_536] * 8),
    "a million layers": setting("config.architecture.hidden", [1] * 1_000_000),
    "a code too wide": setting("config.architecture.n_latent", 65_536),
    "a projector too wide": lambda folder: (
        setting("config.task", {"projector": [65_536, 65_536]})(folder), setting("config.pretext", "simclr")(folder)
    ),
    "a million sources": setting("sources", [str(i) for i in range(1_000_000)]),
    "another number of genes": setting("n_genes", 10**9),
    "numbers without end": lambda folder: (folder / "config.json").write_text('{"format": ' + "9" * 5_000 + "}"),
    "lists in lists": lambda folder: (folder / "config.json").write_text("[" * 1_000_000),
    "a task that is a module": setting("config.pretext", "os"),
    "a panel that is a path": setting("panel", {"fingerprint": "/etc/passwd", "name": "../../etc", "species": "x"}),
    "files outside": lambda folder: edit(folder, lambda c: c["files"].update({"../../etc/passwd": {"bytes": 1}})),
    "files that are no files": setting("files", ["model.safetensors"]),
    "a card of other things": setting("card", {"metrics": {"val_loss": "x"}, "data": [], "licence": {}}),
    "programmes without a file": setting("config.task", {"masking": "programme", "programmes": "/etc/passwd"}),
    "programmes without end": lambda folder: (folder / "programmes.gmt").write_text("a\tb\tc\n" * 200_000),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_it_is_refused_in_one_line(copy, heard, name):
    DAMAGE[name](copy)
    read, ran = heard
    read.clear(), ran.clear()
    # The most memory from here on, whatever the process took before.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    with pytest.raises(ScsslError) as caught:
        scssl.load(copy)
    grown = peak() - before
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000
    assert not ran
    assert grown < MEGABYTES * 1024
    assert outside(read, copy) == []
    assert not Path("/tmp/scssl-was-executed").exists()


def peak():
    """The most memory that this process has had, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def outside(read, folder):
    """Files that were opened and are neither the model's nor the program's."""
    own = (str(folder), sys.prefix, sys.base_prefix, str(Path(scssl.__file__).parent), "/proc", "/sys")
    return [path for path in read if not path.startswith(own)]


def test_what_is_read_of_a_good_folder(model, heard):
    read, ran = heard
    read.clear(), ran.clear()
    scssl.load(model)
    assert not ran
    assert {Path(path).name for path in read if path.startswith(str(model))} <= {
        "config.json", "genes.tsv", "model.safetensors", "programmes.gmt"
    }  # fmt: skip
    assert outside(read, model) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.pkl", b""), ("pytorch_model.bin", b""), ("modeling.py", b"raise SystemExit"), ("conftest.py", b"1/0")],
)
def test_what_else_lies_in_the_folder_is_not_touched(copy, heard, name, content):
    (copy / name).write_bytes(content or pickle.dumps(_Program()))
    read, ran = heard
    read.clear(), ran.clear()
    scssl.load(copy)
    assert not ran
    assert str(copy / name) not in read


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["card"].update(licence="<script>\n---\nlicense: mit\n---", limits="`rm`\n# title"),
        lambda c: c["card"].update(metrics={"<script>": 1}, versions={"<script>": "<script>"}),
        lambda c: c["card"].update(origin={"kind": "<script>", "checkpoint": ["x"], "doi": {"a": 1}}),
        lambda c: c.update(sources=["---\nlicense: mit\n---<script>alert(1)</script>"]),
        lambda c: c["panel"].update(name="\n---\nlicense: mit"),
    ],
)
def test_a_card_of_nonsense_stays_a_card(copy, tmp_path, change):
    import yaml

    edit(copy, change)
    model = scssl.load(copy)
    assert repr(model)
    model.save(tmp_path / "again")
    text = (tmp_path / "again" / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "other"
    assert "<script>" not in text
    verify_model(tmp_path / "again")


def test_a_capsule_reads_nothing_outside(copy, heard, tmp_path, capsys):
    secret = tmp_path / "secret"
    secret.write_text("password")
    edit(copy, lambda c: c["files"].update({"../secret": {"bytes": 8, "sha256": "0"}}), name="capsule.json")
    read, _ = heard
    read.clear()
    assert main(["verify", str(copy)]) == 2
    assert "is no file of a run" in capsys.readouterr().out
    assert str(secret) not in read


def test_a_capsule_of_a_folder_with_links_is_of_the_folder(copy, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "big").write_text("x")
    (copy / "link").symlink_to(tmp_path / "outside")
    shape = {"settings": {"a": 1}, "seeds": {"a": 1}, "data": {"a": 1}, "genes": {"n": 1}, "metrics": {"a": 1}}
    write_capsule(copy, what="test", **shape)
    assert "link/big" not in json.loads((copy / "capsule.json").read_text())["files"]

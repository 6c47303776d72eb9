"""The command line: help costs nothing, mistakes get one line and code 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from scssl import __version__
from scssl.cli import app as app_module
from scssl.cli.app import COMMANDS, CORPUS_COMMANDS, main
from scssl.cli.common import Common, Outcome
from scssl.errors import DataError


def scssl(*words, **kwargs):
    return subprocess.run([sys.executable, "-m", "scssl.cli.app", *words], capture_output=True, text=True, **kwargs)


def unquoted(text):
    """What versions of cyclopts put between quotes differs."""
    return text.replace('"', "")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_the_commands_in_order_of_use(capsys, words):
    assert main(words) == 0
    text = capsys.readouterr().out
    places = [text.index(f" {name} ") for name in ("check", "corpus", "pretrain", "embed", "annotate", "report", "env")]
    assert places == sorted(places)
    assert " ".join(COMMANDS["env"].split()[:5]) in text


@pytest.mark.parametrize("words", [[name] for name in COMMANDS] + [["corpus", name] for name in CORPUS_COMMANDS])
def test_every_command_explains_itself(capsys, words):
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: scssl {' '.join(words)}")
    assert "--json" in text
    assert "--quiet" in text


@pytest.mark.parametrize("words", [(name, name) for name in COMMANDS] + [("corpus", name) for name in CORPUS_COMMANDS])
def test_no_number_is_rounded(words):
    """What is declared as a plain int would be: 1.5 becomes 2."""
    annotations = getattr(import_module(f"scssl.cli.{words[0]}"), words[1]).__annotations__
    assert not [name for name, kind in annotations.items() if re.search(r"\bint\b", str(kind))]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["env", "--jsn"], "Unknown option: --jsn. Did you mean --json? See: scssl env --help"),
        (["env", "more", "words"], "More arguments than expected: more words. See: scssl env --help"),
        (["repot"], 'Unknown command "repot". Did you mean "report"?'),
        (["report"], "RUN requires an argument"),
        (["corpus", "bild"], 'Did you mean "build"?'),
    ],
)
def test_mistakes_in_the_options(capsys, words, expected):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert unquoted(expected) in unquoted(captured.err)
    assert "--help" in captured.err
    assert captured.err.count("\n") == 1


def test_mistakes_with_json_are_one_object_too(capsys):
    assert main(["env", "--json", "--bogus"]) == 2
    assert "Unknown option: --bogus" in unquoted(json.loads(capsys.readouterr().out)["error"])


def outcome_of(monkeypatch, function):
    def command(*, common: Common | None = None):
        return function()

    monkeypatch.setattr("scssl.cli.env.env", command)
    return main(["env"]), main(["env", "--json"])


def raises(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("a.h5ad: no counts"), 2, "a.h5ad: no counts"),
        (
            OSError(28, "No space left on device", "out.h5ad"),
            2,
            "out.h5ad: No space left on device. Free some space, or choose an output on another disk",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_mistakes_during_work(monkeypatch, capsys, error, code, words):
    assert outcome_of(monkeypatch, raises(error)) == (code, code)
    captured = capsys.readouterr()
    assert captured.err == 2 * f"error: {words}\n"
    assert json.loads(captured.out) == {"error": words}


def test_results_are_shown_as_text_or_as_one_object(monkeypatch, capsys):
    codes = outcome_of(monkeypatch, lambda: Outcome(result={"a": 1.5}, text="[bold]done[/bold]", exit_code=2))
    assert codes == (2, 2)
    assert capsys.readouterr().out == 'done\n{"a": 1.5}\n'


def test_bugs_are_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        outcome_of(monkeypatch, raises(ZeroDivisionError()))


def test_a_reader_that_leaves_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "scssl.cli.app", "env"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_output_is_named():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scssl.cli.app", "env"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_debug_variable_keeps_warnings(monkeypatch):
    import warnings

    def warn():
        warnings.warn("careful", UserWarning, stacklevel=1)
        return Outcome(result={}, text="")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outcome_of(monkeypatch, warn) == (0, 0)
    monkeypatch.setitem(os.environ, "SCSSL_DEBUG", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="careful"):
            outcome_of(monkeypatch, warn)


def test_names_that_are_not_utf8_are_refused_before_any_work(tmp_path, capsys, monkeypatch):
    folder = tmp_path / os.fsdecode(b"n\xff")
    folder.mkdir()
    assert main(["check", str(folder / "a.h5ad"), "--json"]) == 2
    assert "rename the file or folder" in json.loads(capsys.readouterr().out)["error"]
    monkeypatch.chdir(folder)
    assert main(["corpus", "build", "a.h5ad", "--out", "c"]) == 2
    said = capsys.readouterr().err
    assert "udcff' is not UTF-8" in said
    assert len(said.splitlines()) == 1


def test_module_can_be_run():
    done = scssl("--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")
    assert app_module.__doc__


PENDING = """
import asyncio, sys
from scssl.cli import app

async def reading():
    await asyncio.sleep(1000)

loop = asyncio.new_event_loop()
task = loop.create_task(reading())
loop.run_until_complete(asyncio.sleep(0))

def interrupted(tokens):
    raise KeyboardInterrupt

app._parse_and_run = interrupted
sys.exit(app.main(["check", "x"]))
"""


def test_what_was_being_read_is_left_without_a_word():
    """zarr reads in tasks, and asyncio complains at exit of those that nobody waits for any more."""
    done = subprocess.run([sys.executable, "-c", PENDING], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "error: interrupted\n"

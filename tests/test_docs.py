"""What the documentation shows can be typed: commands parse, Python compiles, nothing is left to fill in."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from scssl import __version__
from scssl.cli.app import make_app

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)


def blocks(*languages):
    for page in PAGES:
        for indent, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                lines = [line.removeprefix(indent) for line in text.splitlines()]
                yield pytest.param("\n".join(lines), id=f"{page.name}: {lines[0][:40]}")


def commands():
    for block in blocks("bash"):
        text = block.values[0].replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            # "[--out X]" says what is optional; what comes after a pipe is another program.
            words = [word.strip("[]") for word in words[: words.index("|") if "|" in words else None]]
            if words[:1] == ["scssl"]:
                yield pytest.param(words[1:], id=" ".join(words)[:60])


@pytest.mark.parametrize("text", list(blocks("python")))
def test_python_compiles(text):
    ast.parse(text)


@pytest.mark.parametrize("words", list(commands()))
def test_commands_can_be_typed(words):
    if words[-1] in ("--version", "--help"):
        return
    make_app(used=words[:2]).parse_args(words, exit_on_error=False, print_error=False)


def test_something_is_checked():
    assert len(list(commands())) > 10
    assert len(list(blocks("python"))) > 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page):
    assert not re.search(r"@@|--8<--|\bTODO\b|\bFIXME\b", page.read_text(encoding="utf-8"))


def test_citation_is_complete():
    content = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert content["version"] == __version__
    assert {"cff-version", "message", "title", "authors", "date-released", "license"} <= content.keys()
    paper = content["preferred-citation"]
    assert paper["doi"] == "10.1038/s42256-024-00934-3"
    assert {"type", "title", "authors", "journal", "year"} <= paper.keys()


def test_every_extra_is_told_of():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (REPOSITORY / "docs" / "quickstart.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert told == set(extras)

"""The command line: which commands there are, and how results and mistakes are shown."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError

from scssl import __version__, log
from scssl.cli.common import Common, Outcome
from scssl.errors import ScsslError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from inspect import BoundArguments

app = App(
    name="scssl",
    help="Self-supervised learning on single-cell genomics: pre-train on unlabelled cells, use it on your own.",
    version=__version__,
    default_parameter=None,
)
corpus = App(name="corpus", help="Build and inspect corpora: many cells from many files, in one folder on disk.")
app.command(corpus)

# Import paths, not functions: a command's module is loaded only when the command is used.
for name in ("check", "pretrain", "embed", "annotate", "report", "demo", "pretexts", "presets", "env"):
    app.command(f"scssl.cli.{name}:{name}", name=name)
for name in ("build", "info", "verify"):
    corpus.command(f"scssl.cli.corpus:{name}", name=name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 2 a mistake in the input or the options, 130 interrupted.
    """
    try:
        command, bound, _ = app.parse_args(list(sys.argv[1:] if argv is None else argv), exit_on_error=False, print_error=True)
    except CycloptsError:
        return 2
    return _run(command, bound)


def _run(command: Callable[..., Any], bound: BoundArguments) -> int:
    common = bound.arguments.get("common") or Common()
    log.configure(quiet=common.quiet)
    if "SCSSL_DEBUG" not in os.environ:
        warnings.simplefilter("ignore")
    try:
        outcome = command(*bound.args, **bound.kwargs)
    except ScsslError as error:
        return _fail(str(error), as_json=common.json)
    except KeyboardInterrupt:
        _fail("interrupted", as_json=common.json)
        return 130
    except OSError as error:
        # Disk full, no permission, too many open files: the system's words and the file say it best.
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", as_json=common.json)
    if isinstance(outcome, Outcome):
        _show(outcome, as_json=common.json)
        return outcome.exit_code
    return 0


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome.result, allow_nan=False))
        return
    from rich.console import Console

    Console(soft_wrap=True, highlight=False).print(outcome.text)


def _fail(message: str, *, as_json: bool) -> int:
    print(f"error: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message}))
    return 2


if __name__ == "__main__":
    sys.exit(main())

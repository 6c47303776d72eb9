"""The command line: which commands there are, and how results and mistakes are shown."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError, UnusedCliTokensError

from scssl import __version__, log
from scssl.cli.common import Common, Outcome
from scssl.errors import ScsslError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from inspect import BoundArguments
    from types import FrameType

# In the order of use. One line each, given here so that the list can be shown without loading any command.
COMMANDS = {
    "check": "Say whether a file is usable: counts or not, gene IDs, species, coverage, and what to do.",
    "pretrain": "Learn from unlabelled cells; writes a model.",
    "embed": "Give each cell of a file its coordinates in a model's space.",
    "annotate": "Label the cells of a file after a labelled reference.",
    "integrate": "Bring the batches of a study together, and map new cells to them.",
    "compare": "Say what differs between two conditions, in which cells, and how sure; donors are the units.",
    "similar": "Find the cells of a corpus or reference that are most like those of a file.",
    "reconstruct": "Reconstruct expression: denoised, also of genes that a file has not measured.",
    "translate": "Predict proteins or accessible peaks of cells from their RNA.",
    "simulate": "Simulate cells under a condition in which they were not measured; say what that is worth.",
    "study": "Say whether pre-training helps on your own labelled cells, against honest baselines.",
    "labels": "Say which Cell Ontology term each label of a file means, and map labels between naming schemes.",
    "report": "Write one HTML page of what happened in a run.",
    "verify": "Recompute what can be recomputed of a run, and say what differs.",
    "demo": "See it all at work in a few minutes, on simulated and real cells.",
    "programmes": "Show gene programmes of a file, a collection or a corpus: sizes, coverage, transcription factors.",
    "pretexts": "List the pretext tasks: what a model can learn from unlabelled cells.",
    "presets": "List the named training set-ups.",
    "env": "Print what a bug report needs: versions, devices, memory, extras.",
}
CORPUS_COMMANDS = {
    "build": "Gather the cells of many files into one corpus.",
    "append": "Add the cells of more files to a corpus.",
    "info": "Say what a corpus holds.",
    "verify": "Recompute the checksums of a corpus.",
    "audit": "Say which cells, donors and data sets of a file a corpus holds.",
}

MODELS_COMMANDS = {
    "list": "List the models fetched from the Hugging Face hub, or those that it has.",
    "pull": "Fetch a model from the hub.",
    "push": "Publish a model on the hub.",
    "import": "Make a model of a network that the paper published.",
}


def make_app(*, used: Collection[str] = ()) -> App:
    """Make the parser of the command line.

    Parameters
    ----------
    used
        Words of the command line. A command among them shows its own, longer help in place of its one line.

    Returns
    -------
    App
        Parser; a command's module is loaded only when that command is used.
    """
    app = App(
        name="scssl",
        help="Self-supervised learning on single-cell genomics: pre-train on unlabelled cells, use it on your own.",
        version=__version__,
        default_parameter=None,
    )
    corpus = App(
        name="corpus",
        help="Build and inspect corpora: many cells from many files, in one folder on disk.",
        sort_key=0.5,
    )
    app.command(corpus)
    models = App(
        name="models",
        help="Models on the Hugging Face hub, and networks of others.",
        sort_key=2.5,
    )
    app.command(models)
    for key, (name, line) in enumerate(COMMANDS.items()):
        app.command(f"scssl.cli.{name}:{name}", name=name, help=None if name in used else line, sort_key=key)
    for key, (name, line) in enumerate(CORPUS_COMMANDS.items()):
        corpus.command(f"scssl.cli.corpus:{name}", name=name, help=None if name in used else line, sort_key=key)
    for key, (name, line) in enumerate(MODELS_COMMANDS.items()):
        # `import` is no name that a function can have.
        target = f"scssl.cli.models:{name}{'_' if name in ('import', 'list') else ''}"
        models.command(target, name=name, help=None if name in used else line, sort_key=key)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 2 a mistake in the input or the options, 130 interrupted (143
        by SIGTERM), 141 nobody reads the output.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    interrupts = _note_interrupts()
    try:
        code = _parse_and_run(tokens)
        # Here rather than at interpreter exit, where a closed pipe could not be caught any more.
        sys.stdout.flush()
    except KeyboardInterrupt:
        # While a command's modules are loaded, or its result is shown.
        return _interrupted()
    except BrokenPipeError:
        # `scssl ... | head`: what is left to print has no reader. /dev/null keeps the flush at exit silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # Output redirected to a full disk.
        return _fail(f"the output cannot be written: {error.strerror or error}", as_json=False)
    except Exception:
        # Libraries that are interrupted while they load raise other errors than KeyboardInterrupt, or crash later on.
        if not interrupts:
            raise
        return _interrupted()
    return code


def _note_interrupts() -> list[int]:
    """Return a list to which each Ctrl-C is added; it is raised as before."""
    received: list[int] = []

    def receive(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        signal.default_int_handler(signum, frame)

    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, receive)
    return received


def _interrupted() -> int:
    _leave_tasks()
    _fail("interrupted", as_json=False)
    return 130


def _leave_tasks() -> None:
    """Let reads and writes that zarr had begun end without a word: their pending tasks are told of at exit."""
    logging.getLogger("asyncio").disabled = True


def _parse_and_run(tokens: list[str]) -> int:
    for name in (*tokens, _here()):
        try:
            name.encode()
        except UnicodeEncodeError:
            message = f"{name!a} is not UTF-8, which libraries do not take for a name; rename the file or folder"
            return _fail(message, as_json="--json" in tokens)
    try:
        command, bound, _ = make_app(used=tokens[:2]).parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(_explain(error), as_json="--json" in tokens)
    return _run(command, bound)


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        # Deleted since: that is for those to say who need it.
        return ""


def _explain(error: CycloptsError) -> str:
    """Say what was wrong with the options in one line, and where the right ones are listed."""
    error.verbose = False
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        sentence = f"More arguments than expected: {' '.join(error.unused_tokens)}."
    else:
        sentence = str(error).strip()
    chain = [name for name in error.command_chain or () if not name.startswith("-")]
    return f"{sentence} See: {' '.join(['scssl', *chain, '--help'])}"


def _run(command: Callable[..., Any], bound: BoundArguments) -> int:
    common = bound.arguments.get("common") or Common()
    log.configure(quiet=common.quiet)
    if "SCSSL_DEBUG" not in os.environ:
        warnings.simplefilter("ignore")
    try:
        outcome = command(*bound.args, **bound.kwargs)
    except ScsslError as error:
        return _fail(str(error), as_json=common.json)
    except KeyboardInterrupt as stop:
        _leave_tasks()
        _fail(str(stop) or "interrupted", as_json=common.json)
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:
        raise
    except MemoryError:
        message = "there is not enough memory for this; close other programs, or use a machine with more"
        return _fail(message, as_json=common.json)
    except OSError as error:
        # Disk full, no permission, too many open files: the system's words and the file say it best.
        # Of a copy or a move, the second file is the one that could not be written.
        name = error.filename2 or error.filename
        where = f"{name}: " if name else ""
        full = ". Free some space, or choose an output on another disk" if error.errno == errno.ENOSPC else ""
        return _fail(f"{where}{error.strerror or error}{full}", as_json=common.json)
    except RuntimeError as error:
        # So pathlib refuses to follow a path, where the system's own words would be an OSError.
        if not str(error).startswith("Symlink loop"):
            raise
        return _fail(f"{error}: a link that leads to itself; give the path of the file or folder", as_json=common.json)
    if isinstance(outcome, Outcome):
        _show(outcome, as_json=common.json)
        return outcome.exit_code
    return 0


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome.result, allow_nan=False))
        return
    from rich.console import Console

    # Captured, because rich ends the process itself, with code 1, when nobody reads what it prints.
    console = Console(soft_wrap=True, highlight=False)
    with console.capture() as captured:
        console.print(outcome.text)
    print(captured.get(), end="")


def _fail(message: str, *, as_json: bool) -> int:
    # One line, also where a library's own words (YAML, HDF5) have several.
    message = " ".join(line.strip() for line in message.splitlines())
    print(f"error: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message}))
    return 2


if __name__ == "__main__":
    sys.exit(main())

"""The study of the quick plan on Kang et al.'s eight control donors, whose cells no network was pre-trained on.

    OMP_NUM_THREADS=1 python -m benchmarks.study [--folder DIR] [--workers 2]

The corpus is the immune corpus without all files that start with "kang_", which share cells with the target. What is
in DIR is not computed again. CPU seconds are of this process and the ones that it started, so of a whole run only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import scssl
from benchmarks import protocol

TARGET = "kang_ctrl_8donors_1287g"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keeps the corpus and the study")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--note", default="", help="written to the result")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        started = time.time()
        result = scssl.study.run(
            build_corpus(folder / "corpus"), target=protocol.DATA / f"{TARGET}.h5ad", labels="cell_type",
            donor="donor", out=folder / "study", workers=given.workers,
        )  # fmt: skip
        used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
        cost = {
            "workers": given.workers,
            "seconds": round(time.time() - started),
            "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in used)),
        }
    protocol.write(
        "study_kang",
        command="OMP_NUM_THREADS=1 python -m benchmarks.study",
        result={"cost": cost, "note": given.note, **_without(result.to_dict(), "folder")},
    )


def build_corpus(folder: Path) -> scssl.Corpus:
    """Build the immune corpus without Kang et al.'s cells, or open it."""
    if folder.is_dir():
        return scssl.Corpus.open(folder)
    files = sorted(path.stem for path in protocol.DATA.glob("kang_*.h5ad"))
    return scssl.Corpus.build(
        protocol.DATA / "human_immune_corpus.h5ad", folder, genes="human", obs=["cell_type", "donor", "file"],
        source="file", measured="uns:measured", unlabelled=["unknown"], test=0.0,
        where=f"file not in {json.dumps(files)}",
    )  # fmt: skip


def _without(record: dict, name: str) -> dict:
    return {key: value for key, value in record.items() if key != name}


if __name__ == "__main__":
    main()

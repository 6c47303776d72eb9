"""Builds a corpus of h5ad files; prints the time without the imports."""

from __future__ import annotations

import argparse
import inspect
import time

import harness


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--compress", default="")
    args = parser.parse_args()
    import scssl
    import scssl.corpus.build.create

    options = {}
    if args.workers > 1 or "workers" in inspect.signature(scssl.Corpus.build).parameters:
        options["workers"] = args.workers
    if args.compress:
        options["compress"] = args.compress
    harness.say(event="ready", **harness.memory())
    begin, cpu = time.perf_counter(), harness.cpu_seconds()
    corpus = scssl.Corpus.build(
        args.files, args.out, genes="union", obs=["donor", "cell_type"], split_by="donor", val=0, test=0, **options
    )
    harness.say(
        event="built",
        wall_s=round(time.perf_counter() - begin, 3),
        cpu_s=round(harness.cpu_seconds() - cpu, 3),
        cells=corpus.n_cells(),
        nonzeros=sum(shard.n_nonzeros for shard in corpus.shards),
    )


# A build with several workers starts new processes, which import this file.
if __name__ == "__main__":
    main()

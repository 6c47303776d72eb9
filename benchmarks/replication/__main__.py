"""Start of `python -m benchmarks.replication`."""

from benchmarks.replication.run import main

main()

"""From files to a corpus: plan, read, shuffle on disk, write shards; on one process or many, and gone on with."""

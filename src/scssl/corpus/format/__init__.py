"""The format of a corpus on disk: shards, their manifest, and how both are checked."""

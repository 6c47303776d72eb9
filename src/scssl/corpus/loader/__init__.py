"""From a corpus to batches: which cells, in which order, read ahead in threads."""

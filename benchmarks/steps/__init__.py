"""One training step, ours and others': what `benchmarks.train_step` times."""

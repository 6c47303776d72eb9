"""Where cells come from: files of any kind, SOMA experiments, the Census; opened, described, read by rows."""

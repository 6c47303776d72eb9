"""The package's own pretext tasks, whatever else a test has registered in the same process."""

from scssl.pretext import PretextRecord, get_task, list_tasks


def shipped_tasks() -> list[PretextRecord]:
    """Return the records of the tasks that train and come with the package."""
    return [r for r in list_tasks() if r.trains and get_task(r.name).__module__.startswith("scssl.")]

"""What the speed benchmarks share: measured child processes, a cold page cache, the disk's bandwidth, medians."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.harness import cpu_seconds, memory

RESULTS = Path(__file__).parent / "results"
HERE = Path(__file__).parent.parent
_READ = 8 << 20


def files_under(path: Path) -> list[Path]:
    """Return a file, or all files of a folder."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def size_of(path: Path) -> int:
    """Bytes of a file or folder."""
    return sum(file.stat().st_size for file in files_under(path))


def evict(paths: list[Path], *, drop_caches: bool) -> str:
    """Drop files from the page cache and say how: for the whole machine where asked and permitted, else these files.

    Returns
    -------
    str
        The way, and the share of the files' bytes that stayed in memory (where ``fincore`` is there to tell).
    """
    files = [file for path in paths for file in files_under(path)]
    way = "posix_fadvise"
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    if drop_caches:
        os.sync()
        try:
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
            way = "drop_caches"
        except OSError:
            pass
    return f"{way}, {_resident_share(files)} left in memory"


def _resident_share(files: list[Path]) -> str:
    if shutil.which("fincore") is None:
        return "unknown share"
    resident = 0
    for start in range(0, len(files), 500):
        names = [str(file) for file in files[start : start + 500]]
        done = subprocess.run(
            ["fincore", "--bytes", "--noheadings", "--output", "RES", *names],
            capture_output=True,
            text=True,
            check=True,
        )
        resident += sum(int(line) for line in done.stdout.split())
    return f"{resident / max(1, sum(file.stat().st_size for file in files)):.1%}"


def disk_bandwidth(path: Path, *, drop_caches: bool, limit: int = 2 << 30) -> dict[str, float]:
    """Read the files of a folder from a cold cache, in large pieces with 1 and 4 threads: MB/s each."""
    files, total = [], 0
    for file in sorted(files_under(path), key=lambda f: -f.stat().st_size):
        if total < limit:
            files.append(file)
            total += file.stat().st_size
    result = {}
    for threads in (1, 4):
        evict([path], drop_caches=drop_caches)
        begin = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            done = sum(pool.map(_read_all, files))
        result[f"{threads}_thread{'s' * (threads > 1)}"] = round(done / 1e6 / (time.perf_counter() - begin), 1)
    return result


def _read_all(file: Path) -> int:
    buffer, done = bytearray(_READ), 0
    with file.open("rb", buffering=0) as handle:
        while n := handle.readinto(buffer):
            done += n
    return done


def run(
    command: list[str], *, cores: str = "", env: dict[str, str] | None = None, watch: Path | None = None
) -> dict[str, Any]:
    """Run a command and watch the memory of its processes (every 20 ms), and the size of a folder (every second).

    Parameters
    ----------
    command
        Program and arguments.
    cores
        Processors it may use, as ``taskset`` writes them; all by default.
    env
        Variables added to the environment.
    watch
        Folder whose largest size while the command runs is wanted.

    Returns
    -------
    dict
        ``events``: its stdout, parsed; ``wall_s``, ``cpu_s``, ``peak_rss_mb``, ``peak_private_mb``, ``peak_folder_mb``;
        ``error``: the end of stderr if it failed.
    """
    if cores:
        command = ["taskset", "-c", cores, *command]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **(env or {})}
    peak = {"rss_mb": 0.0, "private_mb": 0.0}
    peak_folder = 0
    begin, cpu_begin = time.perf_counter(), cpu_seconds()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables, cwd=HERE
    )
    lines: list[str] = []
    errors: list[str] = []
    readers = [
        threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True),
        threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True),
    ]
    for reader in readers:
        reader.start()
    looked = 0.0
    try:
        while process.poll() is None:
            now = memory(process.pid)
            peak = {name: max(peak[name], now[name]) for name in peak}
            if watch is not None and time.perf_counter() - looked > 1:
                looked, peak_folder = time.perf_counter(), max(peak_folder, _quiet_size(watch))
            time.sleep(0.02)
    except BaseException:
        process.kill()
        raise
    wall = time.perf_counter() - begin
    for reader in readers:
        reader.join()
    result: dict[str, Any] = {
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu_seconds() - cpu_begin, 3),
        "peak_rss_mb": round(peak["rss_mb"]),
        "peak_private_mb": round(peak["private_mb"]),
        "events": [json.loads(line) for line in lines if line.startswith("{")],
    }
    if watch is not None:
        result["peak_folder_mb"] = round(peak_folder / 1e6)
    if process.returncode:
        result["error"] = "".join(errors)[-2000:]
        print(f"failed: {' '.join(command)}\n{result['error']}", file=sys.stderr, flush=True)
    return result


def _quiet_size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def spread(values: list[float], *, digits: int = 0) -> dict[str, Any] | None:
    """Median, lowest, highest and number of some values."""
    if not values:
        return None
    shown = [round(v, digits) if digits else round(v) for v in (statistics.median(values), min(values), max(values))]
    return {"median": shown[0], "lowest": shown[1], "highest": shown[2], "runs": len(values)}


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on, and how busy it was."""
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    model = next(
        (
            s.split(":", 1)[1].strip()
            for s in Path("/proc/cpuinfo").read_text().splitlines()
            if s.startswith("model name")
        ),
        platform.machine(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "memory_gb": round(memory_kb / 1e6, 1), "load": load()}


def load() -> float:
    """Return how many processes wanted to run in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def write(name: str, *, command: str, result: dict[str, Any], where: dict[str, Any]) -> None:
    """Write a result with what is needed to repeat it."""
    import scssl

    record = {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": where,
        "versions": {"scssl": scssl.__version__, "python": platform.python_version()},
        **result,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")

"""The most memory that a process has held, for benchmarks that run each measured thing in a process of its own."""

from pathlib import Path


def peak_bytes() -> int:
    """Of this process, from Linux. `ru_maxrss` would count what its parent held when it was forked."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

"""Counts the cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores this process may use; in many containers fewer than the machine has.

    Limited by its affinity, and by the quota of its control group, rounded up.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(_CGROUPS, Path("/proc/self/cgroup"))
    return max(1, math.ceil(min(count or 1, quota)))


def _quota(root: Path, own: Path) -> float:
    """Cores that the control groups of a process allow it; infinite without a quota.

    Args:
        root: where control groups are mounted.
        own: the file that lists the control groups of the process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        # Inside a container its own group is mounted as the root, whatever its name.
        group = top / name.lstrip("/")
        for folder in (group, *group.parents):
            least = min(least, _limit(folder))
            if folder == top:
                break
    return least


def _limit(folder: Path) -> float:
    """Cores that one control group allows, by version 2 or version 1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return math.inf

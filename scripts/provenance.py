"""When and where a script has measured: what its record says beside its figures."""

import os
import platform
from datetime import datetime, timezone
from pathlib import Path


def provenance() -> dict:
    """`created_at` and `host`, in the form of the programs' own records."""
    system = f"{platform.system().lower()} {platform.machine()}"
    return {
        "created_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host": {"cpu": cpu(), "cores": os.cpu_count() or 1, "os": system, "simd": []},
    }


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")

"""One clear line where the lock does not fit: it was resolved for CPython 3.11 on 64-bit Linux."""

import platform
import sys

FOUND = f"{platform.python_implementation()} {platform.python_version()} on {sys.platform} {platform.machine()}"
if sys.version_info[:2] != (3, 11) or sys.platform != "linux" or platform.machine() != "x86_64":
    sys.exit(
        f"E_PLATFORM: {FOUND}: the lock in infra/locks is for CPython 3.11 on linux x86_64; "
        "run make with PYTHON=python3.11, or resolve a lock for this platform with `make lock`"
    )

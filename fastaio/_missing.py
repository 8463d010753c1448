"""The message of an import that cannot find the extension module."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

__all__ = ("explain",)


def explain() -> str:
    """Return one sentence: why there is no extension, and what to do."""
    folder = Path(__file__).parent
    this = f"CPython {sys.version_info.major}.{sys.version_info.minor}"
    built = ", ".join(sorted(path.name for path in folder.glob("_fastaio.*.so")))
    if (folder.parent / "setup.py").exists():
        state = f"is compiled as {built}, not for {this}" if built else "is not compiled"
        return (
            f"this is fastaio's source tree ({folder.parent}), whose extension {state}: to use an "
            "installed fastaio start Python in another folder, to use this one run "
            "'pip install -e .' in the tree"
        )
    if built:
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        return (
            f"fastaio in {folder} is compiled as {built}, and {this} needs _fastaio{suffix}: "
            "install fastaio with the Python that runs"
        )
    return f"fastaio in {folder} lacks its extension module: install fastaio again"

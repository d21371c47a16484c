"""The version of maltriage, and of packages. Imports nothing, so that every module may name it."""

from __future__ import annotations

__version__ = "0.8.0"


def version_of(package: str) -> str | None:
    """The version of an installed package; None: it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def install_extra(name: str) -> str:
    """The command that installs an extra of this very package.

    It names where the package was installed from (PEP 610), if that was no index: another package
    might have its name there.
    """
    import json
    import shlex
    import subprocess
    import sys
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        text = metadata.distribution("maltriage").read_text("direct_url.json")
        origin = json.loads(text or "{}")
        url = str(origin.get("url", ""))
        editable = bool(origin.get("dir_info", {}).get("editable"))
        system = origin.get("vcs_info", {}).get("vcs")
    except (metadata.PackageNotFoundError, ValueError, AttributeError, OSError):
        url, editable, system = "", False, None
    wanted = f"maltriage[{name}]"
    if system:
        wanted += f" @ {system}+{url}"
    elif url.startswith("file:"):
        wanted = f"{url2pathname(urlsplit(url).path)}[{name}]"
    elif url:
        wanted += f" @ {url}"
    windows = sys.platform == "win32"  # where only PowerShell knows single quotes
    typed = subprocess.list2cmdline([wanted]) if windows else shlex.quote(wanted)
    return f"pip install {'-e ' if editable else ''}{typed}"

"""Compiles `maltriage/sample/_kernel.c`, and puts the manual pages into the wheel.

The kernel is compiled where a C compiler and Python's headers are.

Without them the package is installed all the same: NumPy does what the kernel does, in several
times the time. `MALTRIAGE_NO_KERNEL=1` leaves it out, for a wheel that runs everywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("maltriage/sample/_kernel.c")
LIMITED_API = "cp311"  # one file for Python 3.11 and later


class BuildHook(BuildHookInterface[Any]):
    """Puts the compiled kernel beside its source, and it and the manual pages into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See `BuildHookInterface.initialize`."""
        if version == "standard":
            self._add_manual_pages(build_data)
        if os.environ.get("MALTRIAGE_NO_KERNEL"):
            return
        try:
            built = compiled(Path(self.root))
        except Exception as error:
            self.app.display_warning(f"no compiled kernel, so NumPy does its work: {error}")
            return
        build_data["artifacts"].append(built.as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"{LIMITED_API}-abi3-{platform_tag()}"

    def _add_manual_pages(self, build_data: dict[str, Any]) -> None:
        """Writes `man/*.1` for `share/man/man1`; an install without them works, too."""
        writer = Path(self.root) / ".ci" / "man.py"
        try:
            subprocess.run([sys.executable, writer], check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
            reason = said.splitlines()[-1] if said else error
            self.app.display_warning(f"no manual pages: {reason}")
            return
        for page in sorted((Path(self.root) / "man").glob("*.1")):
            build_data["shared_data"][f"man/{page.name}"] = f"share/man/man1/{page.name}"


def platform_tag() -> str:
    import sysconfig

    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def compiled(root: Path) -> Path:
    """The kernel's file, relative to `root`; raises what compilers raise."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    class Build(build_ext):
        def build_extensions(self) -> None:
            # No product and sum in one step, whose last bit would differ from NumPy's.
            if self.compiler.compiler_type == "msvc":
                flags = ["/O2", "/fp:precise"]
            else:
                flags = ["-O3", "-g0", "-std=c11", "-ffp-contract=off"]
            for extension in self.extensions:
                extension.extra_compile_args = flags
            super().build_extensions()

    before = Path.cwd()
    os.chdir(root)  # paths of sources are relative, so that no path of this machine is in the file
    try:
        kernel = Extension("maltriage.sample._kernel", [SOURCE.as_posix()], py_limited_api=True)
        build = Build(Distribution({"name": "maltriage", "ext_modules": [kernel]}))
        build.inplace = build.force = True
        with tempfile.TemporaryDirectory() as folder:
            build.build_temp = folder
            build.ensure_finalized()
            build.run()
        return Path(build.get_ext_fullpath("maltriage.sample._kernel")).relative_to(root.resolve())
    finally:
        os.chdir(before)

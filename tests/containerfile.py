"""Reads a Containerfile, and does its steps in a root folder, without a container engine.

The parts of the language that are read are those that `packaging/container/Containerfile` uses.
Roots are made from an archive of the base, steps run in them by `chroot` in namespaces of their
own, which takes root.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "packaging" / "container"
CONTAINERFILE = FOLDER / "Containerfile"
CERTIFICATES = "/run/pip.pem"
"""Where a root has the certificates that pip is to believe."""


@dataclass(frozen=True)
class Step:
    """An instruction and its text, on one line."""

    keyword: str
    text: str


@dataclass
class Stage:
    """From one FROM to the next."""

    name: str
    steps: list[Step] = field(default_factory=list)

    def last(self, keyword: str) -> str | None:
        """The text of the last instruction of a kind."""
        return next((s.text for s in reversed(self.steps) if s.keyword == keyword), None)

    def pairs(self, keyword: str) -> dict[str, str]:
        """Names and values of ENV or LABEL."""
        texts = [step.text for step in self.steps if step.keyword == keyword]
        return dict(pair.split("=", 1) for text in texts for pair in shlex.split(text))


def read(text: str) -> tuple[str, list[Stage]]:
    """The base and the stages of a Containerfile.

    Raises:
        ValueError: it has an instruction that is not done here.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    base, stages = "", list[Stage]()
    for line in joined.splitlines():
        keyword, _, rest = line.partition(" ")
        step = Step(keyword, re.sub(r"\s+", " ", rest).strip())
        if keyword == "ARG":
            base = step.text.partition("=")[2]
        elif keyword == "FROM":
            stages.append(Stage(step.text.partition(" AS ")[2] or str(len(stages))))
        elif keyword in ("RUN", "COPY", "WORKDIR", "ENV", "USER", "LABEL", "ENTRYPOINT", "CMD"):
            stages[-1].steps.append(step)
        else:
            raise ValueError(line)
    return base, stages


def tracked(path: str) -> list[str]:
    """The files of the repository at or below a path, without those that git ignores."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run([*listing, "--", path], cwd=ROOT, capture_output=True, check=True)
    return [name for name in done.stdout.decode().split("\0") if name]


@dataclass(frozen=True)
class Bind:
    """A folder or file that is seen in a root, at the same path unless `at` names another."""

    path: Path
    at: str = ""
    writable: bool = False


def inside(
    root: Path,
    command: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    environment: Mapping[str, str],
    cwd: str = "/",
    user: str | None = None,
    sealed: bool = False,
    shm: str = "64m",
    stdin: bytes = b"",
    timeout: float = 900.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a root.

    Args:
        user: `UID:GID`, without rights and with no way to any; None: root.
        sealed: as `docker run --read-only --network none --tmpfs /tmp` has it.
        shm: size of /dev/shm, which container engines limit to 64 MiB.
    """
    for bind in binds:
        place = root / (bind.at or str(bind.path)).lstrip("/")
        if bind.path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
    top = shlex.quote(str(root))
    lines = ["set -e", "mount --make-rprivate /", f"mount --bind {top} {top}"]
    lines += [f"mount -t proc proc {top}/proc", f"mount -t tmpfs -o mode=755 tmpfs {top}/dev"]
    for device in ("null", "zero", "full", "random", "urandom"):
        lines.append(f"touch {top}/dev/{device}; mount --bind /dev/{device} {top}/dev/{device}")
    lines.append(f"mkdir {top}/dev/shm; ln -s /proc/self/fd {top}/dev/fd")
    lines.append(f"mount -t tmpfs -o mode=1777,size={shm} tmpfs {top}/dev/shm")
    lines.append(f"mkdir {top}/dev/pts; ln -s pts/ptmx {top}/dev/ptmx")
    lines.append(f"mount -t devpts -o newinstance,ptmxmode=0666 devpts {top}/dev/pts")
    for bind in binds:
        there = shlex.quote(str(root / (bind.at or str(bind.path)).lstrip("/")))
        lines.append(f"mount --bind {shlex.quote(str(bind.path))} {there}")
        if not bind.writable:
            lines.append(f"mount -o remount,bind,ro {there}")
    if sealed:
        lines.append(f"mount -t tmpfs -o mode=1777,size=64m tmpfs {top}/tmp")
        lines.append(f"mount -o remount,bind,ro {top}")
    values = [f"{name}={value}" for name, value in environment.items()]
    told = ["env", "-i", "-C", cwd, *values, *command]
    if user is not None:
        uid, gid = user.split(":")
        rights = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        told = ["setpriv", f"--reuid={uid}", f"--regid={gid}", *rights, *told]
    lines.append("exec " + shlex.join(["chroot", str(root), *told]))
    spaces = ["--mount", "--pid", "--ipc", "--fork", "--kill-child", *(["--net"] if sealed else [])]
    return subprocess.run(
        ["unshare", *spaces, "sh", "-c", "\n".join(lines)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


def pip_settings() -> tuple[str, list[Bind]]:
    """The text of a pip.conf that takes packages from where this machine does, and its folders."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    options, binds = dict[str, str](), list[Bind]()
    for name, value in re.findall(r"^[^.=]*\.([\w.-]+)='(.*)'$", listed, re.MULTILINE):
        option = name.rpartition(".")[2]
        if option not in ("index-url", "extra-index-url", "find-links", "cert", "proxy"):
            continue
        if option == "cert":  # not in its own place, which a package of the root may write to
            binds.append(Bind(Path(value).resolve(), CERTIFICATES))
            value = CERTIFICATES
        options[option] = value
        for part in value.split():
            path = Path(part.removeprefix("file://"))
            path = path.parent if path.name == "simple" else path  # the index; files lie beside it
            if path.is_absolute() and path.exists():
                binds.append(Bind(path))
    lines = [f"{option} = {value}" for option, value in options.items()]
    return "\n".join(["[global]", *lines, ""]), binds


def build(base: Path, stages: Sequence[Stage], folder: Path) -> Path:
    """Do the steps of all stages, each in a root of its own; the root of the last one.

    Args:
        base: an archive of the base's root.
        folder: for the roots.
    """
    settings, places = pip_settings()
    roots: dict[str, Path] = {}
    for stage in stages:
        root = roots[stage.name] = folder / stage.name
        root.mkdir()
        subprocess.run(["tar", "-xf", base, "-C", root, "--exclude=./dev/*"], check=True)
        given = []
        (root / "etc" / "pip.conf").write_text(settings, encoding="utf-8")
        if stage is not stages[-1]:
            given = places
        else:
            (root / "etc" / "pip.conf").unlink()
        resolver = Path("/etc/resolv.conf")
        if resolver.exists():
            given = [*given, Bind(resolver.resolve(), "/etc/resolv.conf")]
        cwd = "/"
        for step in stage.steps:
            if step.keyword == "WORKDIR":
                cwd = step.text
                (root / cwd.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif step.keyword == "COPY":
                copy(step, root, roots)
            elif step.keyword == "RUN":
                path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
                path |= {"DEBIAN_FRONTEND": "noninteractive"}
                command = ["sh", "-c", step.text]
                done = inside(root, command, binds=given, environment=path, cwd=cwd)
                if done.returncode:
                    said = (done.stdout + done.stderr).decode(errors="replace")
                    raise RuntimeError(f"RUN {step.text}\n{said[-4000:]}")
    return root


def copy(step: Step, root: Path, roots: Mapping[str, Path]) -> None:
    """Do a COPY: of files of the repository, or of a folder of an earlier stage."""
    words = step.text.split()
    *sources, target = [word for word in words if not word.startswith("--")]
    place = root / target.lstrip("/")
    if words[0].startswith("--from="):
        for source in sources:
            origin = roots[words[0].partition("=")[2]] / source.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"{origin}/.", place], check=True)
        return
    for source in sources:
        for name in tracked(source):
            # The content of a folder is copied, a file by its name.
            inner = Path(name).relative_to(source) if name != source else Path(Path(name).name)
            goal = place / inner
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, goal)


def words(text: str) -> list[str]:
    """The words of an ENTRYPOINT or CMD in its JSON form."""
    found: list[str] = json.loads(text)
    return found

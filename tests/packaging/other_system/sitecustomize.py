"""Shows maltriage what Python is like on another system: `OTHER_SYSTEM=win32` or `darwin`.

Python imports this when it starts, also in processes that maltriage starts. What maltriage imports
of `sys`, `os`, `signal` and the like is then a view that lacks what Python lacks there, by typeshed
(`mypy --platform`), and says that other name of the system. Python itself and other packages see
what there is. Files, paths, pipes and processes stay those of this system: only that Python offers
less is simulated, not how another system behaves.
"""

import builtins
import os
import types
from types import SimpleNamespace
from typing import Any

SYSTEM = os.environ.get("OTHER_SYSTEM")
NOT_ON_DARWIN = """
    copy_file_range eventfd eventfd_read eventfd_write fdatasync getrandom getresgid getresuid
    getxattr listxattr memfd_create pidfd_open pipe2 posix_fadvise posix_fallocate removexattr
    sched_getaffinity sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
    sched_setparam sched_setscheduler setns setresgid setresuid setxattr splice unshare waitid
    O_DIRECT O_LARGEFILE O_NOATIME O_PATH O_RSYNC O_TMPFILE
"""
NOT_ON_WINDOWS = """
    O_ACCMODE O_ASYNC O_CLOEXEC O_DIRECTORY O_DSYNC O_FSYNC O_NDELAY O_NOCTTY O_NOFOLLOW O_NONBLOCK
    O_SYNC PRIO_PGRP PRIO_PROCESS PRIO_USER WNOHANG
    chown chroot confstr ctermid environb fchdir fchmod fchown fork forkpty fpathconf fstatvfs fwalk
    getegid getenvb geteuid getgid getgrouplist getgroups getloadavg getpgid getpgrp getpriority
    getsid getuid initgroups killpg lchown lockf login_tty major makedev minor mkfifo mknod nice
    openpty pathconf posix_spawn posix_spawnp pread preadv pwrite pwritev readv register_at_fork
    sched_get_priority_max sched_get_priority_min sched_yield sendfile setegid seteuid setgid
    setgroups setpgid setpgrp setpriority setregid setreuid setsid setuid statvfs sync sysconf
    tcgetpgrp tcsetpgrp ttyname uname wait wait3 wait4 writev
"""
SIGNALS = """
    ITIMER_PROF ITIMER_REAL ITIMER_VIRTUAL SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL
    SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGSYS SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2
    SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIG_BLOCK SIG_SETMASK SIG_UNBLOCK alarm getitimer pause
    pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigwait
"""
LACKS = {
    "win32": {
        "os": NOT_ON_DARWIN + NOT_ON_WINDOWS,
        "signal": SIGNALS,
        "socket": "AF_UNIX SCM_RIGHTS recv_fds send_fds",
        "select": "epoll poll",
        "mmap": "MAP_ANON MAP_ANONYMOUS MAP_PRIVATE MAP_SHARED PROT_EXEC PROT_READ PROT_WRITE",
        "time": "clock_gettime tzset",
    },
    "darwin": {"os": NOT_ON_DARWIN, "select": "epoll"},
}
NO_MODULES = {"win32": "fcntl grp posix pty pwd resource syslog termios tty", "darwin": ""}


def _strict(name: str, *_: object) -> str:
    """`os.fsdecode` where names are Unicode."""
    return name.decode("utf-8", "surrogatepass") if isinstance(name, bytes) else os.fspath(name)


def _encoded(name: str) -> bytes:
    return name if isinstance(name, bytes) else os.fspath(name).encode("utf-8", "surrogatepass")


def _done(*_: object) -> bool:
    """A call of Windows that does nothing here."""
    return True


GIVEN: dict[str, dict[str, dict[str, object]]] = {
    "win32": {
        "sys": {"platform": "win32"},
        "os": {"name": "nt", "O_BINARY": 0, "fsdecode": _strict, "fsencode": _encoded},
        "ctypes": {
            "windll": SimpleNamespace(kernel32=SimpleNamespace(SetConsoleCtrlHandler=_done))
        },
    },
    "darwin": {"sys": {"platform": "darwin"}},
}


class _View(types.ModuleType):
    """A module without some of its names."""

    def __init__(self, module: types.ModuleType, lacks: str, given: dict[str, object]) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(given)
        self.__dict__["_of"] = module, frozenset(lacks.split())

    def __getattr__(self, name: str) -> object:
        module, lacks = self.__dict__["_of"]
        if name in lacks:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r} there")
        return getattr(module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__dict__["_of"][0], name, value)


def _pretend(system: str) -> None:
    imported = builtins.__import__
    views: dict[str, types.ModuleType] = {}

    def given(name: str, *places: Any, **named: Any) -> Any:
        scope = places[0] if places else named.get("globals")
        level = places[3] if len(places) > 3 else named.get("level", 0)
        if level or not (scope or {}).get("__name__", "").startswith("maltriage"):
            return imported(name, *places, **named)
        if name in NO_MODULES[system].split():
            raise ModuleNotFoundError(f"No module named {name!r} on {system}", name=name)
        module = imported(name, *places, **named)
        lacks, more = LACKS[system].get(name, ""), GIVEN[system].get(name, {})
        if not lacks and not more:
            return module
        return views.setdefault(name, _View(module, lacks, more))

    builtins.__import__ = given
    if system == "win32":
        del os.fork  # nobody may, and nobody does


if SYSTEM:
    _pretend(SYSTEM)

"""Has the process that workers are forked from remove its folder and end; imported nowhere else.

That process outlives the scan, also one that is killed. It ends when the last end of its pipe is
closed, and the folder with its socket is of no use any more.
"""

import atexit
import os
from pathlib import Path

from maltriage.files.temporary import remove_folder
from maltriage.work.forkserver import FOLDER


def _remove(folder: Path, server: int) -> None:
    if os.getpid() == server:  # and not in a worker, which inherits the handler
        remove_folder(folder)
        # Nothing else waits for the end; taking LIEF down would take a tenth of a second.
        os._exit(0)


_named = os.environ.pop(FOLDER, None)
if _named:
    atexit.register(_remove, Path(_named), os.getpid())

"""What is measured: each module is a command, `python -m benchmarks.speed.scan`, run where the
project lies. `docs/studies` has what came of it.

    speed      time and memory of one command or stage
    scale      many files, many cores, many machines
    peers      other tools on the same files
    quality    verdicts, explanations, rules: how well they hold
    studies    nets beside each other, with what came of every cell

`goodware.py` fetches the clean programs that most of them take, and needs nothing of the project.
`installers.py` packs some of them as makers do.
"""

import os

# Before NumPy is imported: as in every command of maltriage it gets one thread. With more they wait
# in a loop after each product of matrices, and what is measured here would be several times what a
# scan takes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

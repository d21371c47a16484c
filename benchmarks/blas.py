"""Imported before NumPy: gives it one thread, as every command of maltriage does (cli/entry.py).

With more its threads wait in a loop after each product of matrices, and what a benchmark measures
in its own process would be several times what a scan takes.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

"""maltriage: triage of Windows executables from the words and images of their bytes.

    import maltriage

    for record in maltriage.scan("samples"):
        ...

The names in `__all__` are the public interface (docs/reference/api.md). They are imported when
they are first asked for, so that `import maltriage` is quick. Every other module is private by
convention.
"""

import os
from typing import TYPE_CHECKING

from maltriage.version import __version__

# From 1.31 on ONNX Runtime keeps an identifier of the machine and a data base of events in the
# user's cache folder and sends them: not from where samples are looked at. It is asked on loading.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# huggingface_hub tells its server of torch and asks it which agents might be calling. The switch
# is read on loading, which importing timm brings about.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__all__ = [
    "Archives",
    "Card",
    "Evidence",
    "Failed",
    "MaltriageError",
    "Model",
    "Record",
    "RegionHeat",
    "Result",
    "Skipped",
    "Summary",
    "Verdict",
    "__version__",
    "explain",
    "load_model",
    "read_report",
    "scan",
    "to_json",
]

if TYPE_CHECKING:
    from maltriage.api import (
        Archives,
        Card,
        Evidence,
        Failed,
        MaltriageError,
        Model,
        Record,
        RegionHeat,
        Result,
        Skipped,
        Summary,
        Verdict,
        explain,
        load_model,
        read_report,
        scan,
        to_json,
    )
else:  # a type checker would take every name for one of the package

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from maltriage import api

        found = globals()[name] = getattr(api, name)
        return found


def __dir__() -> list[str]:
    return sorted(__all__)

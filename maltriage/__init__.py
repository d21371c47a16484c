"""maltriage: triage of Windows executables from images of their bytes."""

import os

__version__ = "0.1.0"

# From 1.31 on ONNX Runtime keeps an identifier of the machine and a data base of events in the
# user's cache folder and sends them: not from where samples are looked at. It is asked on loading.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# huggingface_hub tells its server of torch and asks it which agents might be calling. The switch
# is read on loading, which importing timm brings about.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

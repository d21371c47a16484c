"""The names of guides and of their maps. Imports nothing, so that `--help` may list them."""

from typing import Literal

Kind = Literal[
    "cumulative",
    "instance",
    "label",
    "weighted",
    "early",
    "attention",
    "random",
    "inverse",
    "label-random",
]
Cam = Literal["hirescam", "gradcam"]

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PIL import Image
from report.studies.test_comparison import comparison

pytest.importorskip("matplotlib", reason="needs the extra `train`")


def test_the_chart(tmp_path: Path) -> None:
    from maltriage.learn.runs.charts import plot_comparison

    found = comparison()
    odd = msgspec.structs.replace(found.rows[2], name="$x^{" + "y" * 90)
    plot_comparison(msgspec.structs.replace(found, rows=[*found.rows, odd]), tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as image:
        assert image.format == "PNG"
        assert image.width > 800
    assert [path.name for path in tmp_path.iterdir()] == ["chart.png"]

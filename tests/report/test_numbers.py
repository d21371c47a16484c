from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from maltriage.metrics import Interval
from maltriage.report import numbers
from maltriage.report.sanitize import clean


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1.0K"), (1024, "1.0K"), (10_188, "9.9K"), (10_240, "10K"),
     (1023 * 1024, "1.0M"), (412_672, "403K"), (5 << 40, "5.0T"), (5 << 60, "5242880T")],
)  # fmt: skip
def test_size(value: int, text: str) -> None:
    assert numbers.size(value) == text


def test_a_probability_is_never_certain() -> None:
    shown = [numbers.probability(p) for p in (1.0, 0.9999, 0.9994, 0.973, 0.0006, 0.0004, 0.0)]
    assert shown == [">99.9%", ">99.9%", "99.9%", "97.3%", "0.1%", "<0.1%", "<0.1%"]


@given(st.floats(0, 1))
def test_no_probability_reads_all_or_nothing(value: float) -> None:
    assert numbers.probability(value) not in ("100.0%", "0.0%")


def test_a_difference_has_signs() -> None:
    assert numbers.difference(Interval(0.0124, -0.003, 0.027)) == "+0.012 (-0.003 to +0.027)"


def test_signed_numbers() -> None:
    shown = [numbers.signed(v) for v in (1.2344, -0.5, 0.0, -0.0004, 0.0004, 2e6)]
    assert shown == ["+1.234", "-0.500", "0.000", "0.000", "0.000", "+2e+06"]
    assert [numbers.share(v) for v in (0.62, -0.031, -0.0001)] == ["62.0%", "-3.1%", "0.0%"]
    assert [numbers.rate(v) for v in (0.01, 0.001, 0.00015)] == ["1%", "0.1%", "0.015%"]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short.exe", 20, "short.exe"),
        ("a/very/long/path/to/some/sample.exe", 24, "a/very/…/some/sample.exe"),
        ("a/very/long/path/to/some/sample.exe", 12, "…/sample.exe"),
        ("x/0123456789abcdef0123456789abcdef.bin", 20, "…/01234567…bcdef.bin"),
        ("0123456789abcdef0123456789abcdef", 16, "0123456…89abcdef"),
        ("C:\\temp\\folder\\payload.dll", 18, "C:\\te…\\payload.dll"),
        ("abcdefghij", 5, "abcd…"),
    ],
)
def test_the_middle_of_a_path_is_cut(text: str, width: int, shown: str) -> None:
    assert numbers.middle(text, width) == shown


@given(st.text(max_size=60).map(clean), st.integers(8, 40))
def test_a_cut_path_fits(text: str, width: int) -> None:
    shown = numbers.middle(text, width)
    assert cell_len(shown) <= width
    assert shown == text or "…" in shown


def test_bars_share_one_scale() -> None:
    axis = numbers.Axis.over([3.0, -1.0], 21)
    assert (axis.left, axis.right) == (5, 15)
    assert axis.bar(3.0).plain == " " * 5 + "│" + "█" * 15
    assert axis.bar(-1.0).plain == "█" * 5 + "│"
    assert axis.bar(0.5).plain == " " * 5 + "│██▌"
    assert axis.bar(-0.1).plain == "    ▐│"
    assert axis.bar(0.0).plain == " " * 5 + "│"


@given(st.lists(st.floats(-1e300, 1e300), max_size=6), st.integers(0, 40))
@example([1.8063480012750977e-158, -1.6236297005322545e150], 2)
def test_bars_stay_in_their_room(values: list[float], width: int) -> None:
    axis = numbers.Axis.over(values, width)
    for value in values:
        assert axis.bar(value).cell_len <= max(width, 0)


def test_a_plain_bar_has_eighths() -> None:
    assert numbers.bar(1.0, 4).plain == "████"
    assert numbers.bar(0.5 + 1 / 32, 4).plain == "██▏"
    assert numbers.bar(7.0, 4).plain == "████"
    assert numbers.bar(float("nan"), 4).plain == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.2, "0 s"), (40, "40 s"), (600, "10 min"), (5_999, "100 min"), (6_000, "1.7 h")),
        *((40_000, "11 h"), (172_799, "48 h"), (172_800, "2.0 days"), (1e7, "115.7 days")),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text

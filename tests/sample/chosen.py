"""The views that a net reads unless it is told otherwise."""

from __future__ import annotations

from maltriage.sample.views import DEFAULT, ViewSpec, known_views


def default_views(size: int = 64) -> tuple[ViewSpec, ...]:
    """The views of `DEFAULT`, the body with a side of `size`."""
    return tuple(view for view in known_views(size) if view.name in DEFAULT)

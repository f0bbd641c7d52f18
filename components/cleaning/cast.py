"""Cells of one type made cells of another, without loss."""

from typing import Literal

from components.cleaning.retyped import Retyped


class Cast(Retyped):
    """Make the cells of `columns` cells of `type`: 3.0 can be a whole number, 3.5 cannot."""

    kind: Literal["cast"] = "cast"

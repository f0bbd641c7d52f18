"""Cells of one type made cells of another."""

from typing import Literal

from components.cleaning.retyped import Retyped


class Cast(Retyped):
    """Make the cells of `columns` cells of `type`: 3.0 can be a whole number, 3.5 cannot.

    A whole number beyond 2**53 is rounded when it is made a float.
    """

    kind: Literal["cast"] = "cast"

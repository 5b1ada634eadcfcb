"""Records that many events hold: the same user, actor or outcome comes again and again.

Such a record is made once and read only, so that its Avro encoding can be kept with it (avro_writer.py): on the
stream that saves about half of the encoding.
"""

from __future__ import annotations

from typing import Any, Never, TypeVar, cast

R = TypeVar("R")


class Shared(dict[str, Any]):
    """A dict that nobody changes; `encoded` is what the first writer made of it. A copy is a plain dict again."""

    __slots__ = ("encoded",)

    def __init__(self, record: Any) -> None:
        super().__init__(record)
        self.encoded = b""

    def _refuse(self, *_args: Any, **_named: Any) -> Never:
        raise TypeError("a shared record is read only; copy it")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def shared(record: R) -> R:
    """The record as a shared one, its TypedDict as before."""
    return cast("R", Shared(record))

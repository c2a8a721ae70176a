# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Context managers around ``close()``, and the exchange of what two of them hold."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

Self = TypeVar('Self', bound='Closing')


class Closing:
    """Leaving the context calls :meth:`close`, which a subclass makes idempotent."""

    def close(self) -> None:
        """Free the resources."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def exchange(one: object, other: object, *names: str) -> None:
    """Swap attributes of two objects of one class, such as the models of two stages."""
    for name in names:
        value = getattr(one, name)
        setattr(one, name, getattr(other, name))
        setattr(other, name, value)

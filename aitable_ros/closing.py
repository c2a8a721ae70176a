# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What holds something open is a context manager; this says so once."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

Self = TypeVar('Self', bound='Closing')


class Closing:
    """Leaving the context calls :meth:`close`, which a subclass makes idempotent."""

    def close(self) -> None:
        """Let go of what is held."""
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

"""The one exception that a user sees: what was wrong, where, what was expected, what came, and the remedy."""

from __future__ import annotations


class MedclmError(Exception):
    """A failure that the user can act on. The command line prints it without a traceback.

    Args:
        what: the fault in one sentence.
        where: file, row, key or address it was found at.
        expected: what a right input looks like.
        got: what was found instead.
        remedy: the next thing to do.
        exit_code: 1 for a failure, 2 for bad usage (unknown key, missing file named on the command line).
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        remedy: str | None = None,
        exit_code: int = 1,
    ) -> None:
        self.what = what
        self.details = {"where": where, "expected": expected, "got": got, "remedy": remedy}
        self.exit_code = exit_code
        super().__init__(self.message())

    def message(self) -> str:
        """The fault and its known details, one line each."""
        lines = [self.what]
        lines += [f"  {name}: {value}" for name, value in self.details.items() if value is not None]
        return "\n".join(lines)

    def __reduce__(self) -> tuple:
        return (_rebuild, (self.what, self.details, self.exit_code))


class UsageError(MedclmError):
    """The command line or the configuration asks for something that does not exist (exit code 2)."""

    def __init__(self, what: str, **details: object) -> None:
        details.pop("exit_code", None)
        super().__init__(what, exit_code=2, **details)  # type: ignore[arg-type]


def _rebuild(what: str, details: dict, exit_code: int) -> MedclmError:
    """Pickle support: an error raised in a Ray worker arrives at the driver with its details."""
    return MedclmError(what, exit_code=exit_code, **details)

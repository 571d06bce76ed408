"""Rows of a CSV file whose cells are asked for by column name, each with its place for messages."""

from __future__ import annotations

import csv
import gzip
import io
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from medclm import storage
from medclm.data.readers.base import Refused, number
from medclm.errors import MedclmError

BLANK = {"", "nan", "na", "null"}
"""What an empty cell is written as, lower case ("none" is an answer)."""


@dataclass(frozen=True)
class Row:
    """One row. ``index`` counts data rows from 1; ``where`` names the file and the row.

    ``cells`` are by column name, without blanks at either end; a row that is cut off lacks its last ones.
    """

    where: str
    index: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """The cell, "" where it is blank or no column is meant (``column`` is "").

        Raises:
            Refused: (bad-row) the row ends before that column.
        """
        if not column:
            return ""
        if column not in self.cells:
            raise Refused("bad-row", f"the row ends before column {column!r}")
        cell = self.cells[column]
        return "" if cell.lower() in BLANK else cell

    def number(self, column: str) -> float:
        """The cell as a finite number. Refused (bad-box) where it is none."""
        return number(self.text(column), column)

    def numbers(self, column: str, count: int) -> list[float]:
        """A cell of ``count`` numbers with commas between them. Refused (bad-box) where it is none."""
        parts = self.text(column).split(",")
        if len(parts) != count:
            raise Refused("bad-box", f"{column} must be {count} numbers with commas between, got {self.text(column)!r}")
        return [number(part.strip(), column) for part in parts]


def read_rows(address: str, needed: Iterable[str], delimiter: str = ",") -> Iterator[Row]:
    """The rows of a CSV file with a header (UTF-8; ``.gz`` too), blank lines left out.

    Args:
        address: any fsspec address.
        needed: columns that must be there; "" stands for none.

    Raises:
        MedclmError: the file cannot be read, or lacks a column.
    """
    name = posixpath.basename(address)
    lines = csv.reader(io.StringIO(_text(address), newline=""), delimiter=delimiter)
    try:
        header = [column.strip() for column in next(lines, [])]
        _check_columns(address, header, [column for column in needed if column])
        for index, cells in enumerate((line for line in lines if any(line)), start=1):
            named = {column: cell.strip() for column, cell in zip(header, cells, strict=False) if column}
            yield Row(f"{name}: row {index}", index, named)
    except csv.Error as error:
        raise MedclmError(
            "the file is not a CSV table", where=address, got=f"line {lines.line_num}: {error}"
        ) from error


def read_header(address: str, delimiter: str = ",") -> list[str]:
    """The column names of a CSV file, without blanks at either end.

    Raises:
        MedclmError: the file cannot be read.
    """
    first = _text(address).partition("\n")[0]
    return [column.strip() for column in next(csv.reader([first], delimiter=delimiter), [])]


def _check_columns(address: str, header: list[str], needed: list[str]) -> None:
    missing = [column for column in needed if column not in header]
    if missing:
        raise MedclmError(
            f"the table lacks the column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}",
            where=address,
            expected=", ".join(needed),
            got=", ".join(column for column in header if column) or "no header",
            remedy="choose the right format, or map the columns of this file",
        )


def _text(address: str) -> str:
    data = storage.read_bytes(address)
    try:
        return (gzip.decompress(data) if address.endswith(".gz") else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise MedclmError("the file is not a CSV table", where=address, expected="UTF-8 text", got=error) from error

"""Tables as data: a page shows them, and a paper takes them as CSV, Markdown or LaTeX."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

_MARKDOWN_SIGNS = re.compile(r"[\\|*<`\[\]~]|(?<!\w)_|_(?!\w)")
_LATEX_SIGNS = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After the end of a row they would belong to it.
    "[": "{[}",
    "*": "{*}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "…": r"\ldots{}",
    **{
        sign: f"${command}$"
        for sign, command in {
            "±": r"\pm",
            "−": "-",
            "×": r"\times",
            "≥": r"\geq",
            "≤": r"\leq",
            "α": r"\alpha",
            "δ": r"\delta",
            "ε": r"\varepsilon",
            "λ": r"\lambda",
            "Δ": r"\Delta",
        }.items()
    },
}


@dataclass(frozen=True)
class Cell:
    """What stands in one place: ``value`` is the number behind the text, ``ci95`` the half-width of its interval."""

    text: str
    value: float | None = None
    ci95: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows below a header, which may be empty; ``numbers`` are the columns that stand on the right.

    ``name`` is that of its file. A header of several columns can be sorted by on a page.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[int] = frozenset()
    kind: ClassVar[str] = "table"

    @classmethod
    def of(
        cls, name: str, header: Sequence[str], rows: Iterable[Sequence[str | Cell]], *, numbers: Iterable[int] = ()
    ) -> "Table":
        """The table of these cells, plain texts among them."""
        cells = tuple(tuple(each if isinstance(each, Cell) else Cell(each) for each in row) for row in rows)
        return cls(name, tuple(header), cells, frozenset(numbers))

    def csv(self) -> str:
        """Numbers in full; a column with intervals has another beside it for their half-widths."""
        columns: list[tuple[str, list[str]]] = []
        for column, title in enumerate(self.header):
            cells = [row[column] for row in self.rows]
            columns.append((title, [_known(cell.value) if column in self.numbers else cell.text for cell in cells]))
            if any(cell.ci95 is not None for cell in cells):
                columns.append((f"{title} ci95", [_known(cell.ci95) for cell in cells]))
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(title for title, _ in columns)
        writer.writerows(zip(*(texts for _, texts in columns), strict=True))
        return out.getvalue()

    def markdown(self) -> str:
        """A table as GitHub's Markdown has it."""
        marks = ["--:" if column in self.numbers else ":--" for column in range(len(self.header))]
        lines = [
            [_markdown(title) for title in self.header],
            marks,
            *([_markdown(cell.text) for cell in row] for row in self.rows),
        ]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """A ``tabular`` with the rules of booktabs, to be read with ``\\input``."""
        sides = "".join("r" if column in self.numbers else "l" for column in range(len(self.header)))
        rows = [_latex_row([_latex(cell.text) for cell in row]) for row in self.rows]
        return "\n".join(
            (
                r"% needs \usepackage{booktabs}",
                rf"\begin{{tabular}}{{@{{}}{sides}@{{}}}}",
                r"\toprule",
                _latex_row([_latex(title) for title in self.header]),
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                "",
            )
        )


FORMATS = {"csv": Table.csv, "md": Table.markdown, "tex": Table.latex}
"""What writes a table, by the ending of its file."""


def _known(value: float | None) -> str:
    return "" if value is None else repr(value)


def _markdown(text: str) -> str:
    return " ".join(_MARKDOWN_SIGNS.sub(lambda sign: rf"\{sign[0]}", text).split())


def _latex(text: str) -> str:
    """What has no command stays as it is: letters of other scripts need XeLaTeX or LuaLaTeX."""
    signed = f"−{text[1:]}" if re.match(r"-\d", text) else text
    return " ".join("".join(_LATEX_SIGNS.get(sign, sign) for sign in signed).split())


def _latex_row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"

"""Tables as files: full numbers in CSV, and no text that Markdown or LaTeX takes for its own."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedkd.results.report.tables import Cell, Table

HOSTILE = (
    "a_b & c%",
    r"\input{x} $1^2~#",
    "{[1, 2]}",
    "[1,2]*",
    "*",
    "a|b `c` _d_ <e>",
    "−1 ± λ…",
    "two\nlines",
    '"q"',
)


@pytest.fixture
def table() -> Table:
    rows = [
        (HOSTILE[0], Cell("84.2 ± 1.7", 84.2123, 1.71), Cell("-2.0", -2.0)),
        *((text, Cell("83.0", 83.0), Cell("–")) for text in HOSTILE[1:]),
    ]
    return Table.of("name", ("group", "student", "ε & more"), rows, numbers=(1, 2))


def test_csv_has_numbers_in_full_and_intervals_beside_them(table: Table) -> None:
    header, first, *others = csv.reader(io.StringIO(table.csv()))
    assert header == ["group", "student", "student ci95", "ε & more"]
    assert first == ["a_b & c%", "84.2123", "1.71", "-2.0"]
    assert [row[0] for row in others] == list(HOSTILE[1:])
    assert others[0][1:] == ["83.0", "", ""]


def test_markdown_has_a_line_per_row_and_as_many_cells_everywhere(table: Table) -> None:
    lines = table.markdown().splitlines()
    assert len(lines) == 2 + len(HOSTILE)
    assert lines[1] == "| :-- | --: | --: |"
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert r"a\|b \`c\` \_d\_ \<e>" in lines[7]
    assert "a_b & c%" in lines[2], "underscores within words are plain"


def test_latex_is_a_tabular_of_booktabs_with_everything_escaped(table: Table) -> None:
    comment, begin, top, header, middle, *rows, bottom, end = table.latex().splitlines()
    assert (comment[:2], begin) == ("% ", r"\begin{tabular}{@{}lrr@{}}")
    assert (top, middle, bottom, end) == (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}")
    assert rows[0] == r"a\_b \& c\% & 84.2 $\pm$ 1.7 & $-$2.0 \\"
    commands = r"\\[&%$#_{}]|\\(?:text[a-z]+|ldots)\{\}|\$(?:\\[a-z]+|-)\$|\{[\[*]\}"
    for row in (header, *rows):
        assert row.endswith(r" \\")
        cells = re.sub(commands, "", row.removesuffix(r" \\"))
        assert cells.count("&") == 2
        assert not set(cells) & set('\\%$#_{}^~<>|[*"'), f"{row} has a sign of TeX's own"
        assert cells.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex (texlive-latex-recommended)")
def test_latex_takes_it(table: Table, tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(table.latex(), encoding="utf-8")
    packages = r"\usepackage[T1]{fontenc}\usepackage{textcomp}\usepackage{booktabs}"
    paper = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table}}\end{{document}}"
    (tmp_path / "paper.tex").write_text(paper, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout

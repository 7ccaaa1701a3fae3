"""Several runs side by side: groups that differ in nothing but the seed, with honest intervals."""

from fedkd.results.report.comparison._export import write_figures, write_tables
from fedkd.results.report.comparison._find import SWEEP_FILE, find_runs
from fedkd.results.report.comparison._groups import Group, group_of, group_runs
from fedkd.results.report.comparison._measures import (
    CONTROL,
    MEASURES,
    Estimate,
    Measure,
    estimate,
    in_order,
    measure,
    paired,
)
from fedkd.results.report.comparison._page import write_comparison, write_page

__all__ = [
    "CONTROL",
    "MEASURES",
    "SWEEP_FILE",
    "Estimate",
    "Group",
    "Measure",
    "estimate",
    "find_runs",
    "group_of",
    "group_runs",
    "in_order",
    "measure",
    "paired",
    "write_comparison",
    "write_figures",
    "write_page",
    "write_tables",
]

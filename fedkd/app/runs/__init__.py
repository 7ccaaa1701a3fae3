"""Finished runs, and what is there of others, as Python objects."""

from fedkd.app.runs.loading import load_run, load_runs
from fedkd.app.runs.run import Run
from fedkd.app.runs.several import Runs

__all__ = ["Run", "Runs", "load_run", "load_runs"]

"""Run one experiment: what ``fedkd run`` does, as a script to copy.

python scripts/simulate.py configs/quickstart.yaml --out runs/mine clients.count=20 strategy.name=mean_probabilities
"""

import argparse
import sys
from pathlib import Path

from fedkd.app.cli.console import Console
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import FedkdError


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one experiment.")
    parser.add_argument("config", help="a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the file")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the results")
    arguments = parser.parse_intermixed_args()

    config = load_config(arguments.config, arguments.overrides)
    with Console() as console:
        summary = run_experiment(config, arguments.out, console)
    if summary.student_accuracy is not None:
        print(f"The student classifies {summary.student_accuracy:.1%} of the test set correctly.")


if __name__ == "__main__":
    # The guard matters: worker processes import this file again.
    try:
        main()
    except FedkdError as error:
        sys.exit(f"Error: {error}")

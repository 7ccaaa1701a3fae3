"""Run one experiment: python scripts/simulate.py configs/quickstart.yaml --out runs/mine clients.count=20"""

import argparse
import sys

from fedkd import ConsoleObserver, FedkdError, load_config, run_experiment

# The guard matters: worker processes import this file again.
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run one experiment.")
    parser.add_argument("config", help="a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the file")
    parser.add_argument("--out", required=True, help="a new folder for the results")
    arguments = parser.parse_intermixed_args()
    try:
        with ConsoleObserver() as observer:
            run = run_experiment(load_config(arguments.config, arguments.overrides), arguments.out, observer)
    except FedkdError as error:
        sys.exit(f"Error: {error}")
    if run.summary.student_accuracy is not None:
        print(f"The student classifies {run.summary.student_accuracy:.1%} of the test set correctly.")

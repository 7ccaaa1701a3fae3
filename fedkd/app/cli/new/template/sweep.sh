#!/bin/sh
# The strategy against stacked over three seeds; started again, it goes on where it was.
set -eu
fedkd sweep experiment.yaml --grid strategy.name=my_strategy,stacked --seeds 0,1,2 --out runs/sweep
fedkd compare runs/sweep --out runs/sweep/comparison.html

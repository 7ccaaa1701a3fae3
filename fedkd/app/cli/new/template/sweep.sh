#!/bin/sh
# The strategy against stacked over three seeds, as a page, and as tables and figures for paper/paper.tex.
# Started again, it goes on where it was.
set -eu
fedkd sweep experiment.yaml --grid strategy.name=my_strategy,stacked --seeds 0,1,2 --out runs/sweep
fedkd compare runs/sweep --out runs/comparison.html --tables paper/tables --figures paper/figures

"""Studies: the same model and the same RL on mixtures that differ in one thing, and what follows from it.

config.py     the recipe that declares a study
design.py     the study that a recipe comes to: arms, cells and the nodes that make them
nodes.py      does one node, which is one of the existing verbs, or finds its result
run.py        runs the nodes, on this machine or elsewhere, and freezes the result as a manifest
cost.py       what is done already, and what the rest will take
outcomes.py   the outcomes of each cell, in SQL
results.py    means, differences and claims with their intervals
verify.py     recomputes a study from the store
"""

"""Trains a fastText classifier in a process of its own: `python -m curation.classifiers.fit_worker LINES MODEL
ARGUMENTS`.

fastText leaves nine tenths of its input matrix uninitialised when it has fewer than ten threads: whatever is in that
memory, up to 1e37, takes part in training. Here it is zeros, because of the environment that `curation.classifiers.fit`
sets. One thread, so that equal lines give equal bytes. Leaves out other allocators than glibc's: with them, only the
check of the weights detects the fault."""

import json
import sys

import fasttext
import numpy as np

LARGEST = 1e4
"""A weight that no training at a reasonable rate reaches; uninitialised memory mostly exceeds it or is not a number."""


def fit(lines: str, path: str, arguments: dict[str, float]) -> None:
    """Write the model of `lines` to `path`; RuntimeError when its weights cannot be the outcome of training."""
    model = fasttext.train_supervised(lines, thread=1, verbose=0, loss="softmax", **arguments)
    for weights in (model.get_input_matrix(), model.get_output_matrix()):
        if not (np.abs(weights) < LARGEST).all():
            raise RuntimeError(f"weights beyond {LARGEST:g}")
    model.save_model(path)


if __name__ == "__main__":
    fit(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))

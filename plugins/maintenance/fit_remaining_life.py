#!/usr/bin/env python3
"""Fits a remaining-life model for the maintenance rule on run-to-failure data and writes it as JSON.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scikit-learn==1.9.1
    venv/bin/python fit_remaining_life.py pdm_cmapss_fd001_train.csv.gz models/cmapss_fd001.json

The input is a CSV (may be gzipped) with the columns unit, cycle, rul and sensors; rows of a unit stand together, in
the order of their cycles. Nothing but this file decides what the model is: spans and size of the trees are chosen by
cross-validation over whole units, and the error that the model states is the one measured there. The same input and
the same versions of the packages give the same bytes.
"""

import argparse
import csv
import gzip
import itertools
import json

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import GroupKFold

SEED = 1
FOLDS = 5
# Far from its end a unit shows no wear yet: a remaining life above this is all the same.
REMAINING_MAX = 125.0
# Sensors that move at all in FD001 and are not near copies of one another.
SENSORS = ["s03", "s04", "s09", "s11", "s12", "s14", "s15", "s21"]
SPANS = [(5, 25), (10, 40), (8, 80)]
DEPTHS = [3, 4]
TREES = 120
LEARNING_RATE = 0.06


def read(path):
    """Rows by unit: a list of dicts of float columns, each an array over the unit's cycles."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    units = []
    for _, group in itertools.groupby(rows, key=lambda row: row["unit"]):
        group = list(group)
        units.append({name: np.array([float(row[name]) for row in group]) for name in SENSORS + ["rul"]})
    return units


def weighted_mean(values, span):
    """Exponentially weighted mean up to each value: the arithmetic of `Model::add` and `Model::remaining`."""
    alpha = 2.0 / (span + 1.0)
    total = weight = 0.0
    means = np.empty(len(values))
    for at, value in enumerate(values):
        total += alpha * (value - total)
        weight += alpha * (1.0 - weight)
        means[at] = total / weight
    return means


def features_of(spans):
    """The features of a model with these spans, as the model file writes them."""
    means = [{"of": "mean", "input": sensor, "span": float(span)} for sensor in SENSORS for span in spans]
    return means + [{"of": "age"}]


def table(units, features):
    """Array of shape (all cycles of all units, features)."""
    def column(unit, feature):
        if feature["of"] == "age":
            return np.arange(1.0, len(unit["rul"]) + 1.0)
        return weighted_mean(unit[feature["input"]], feature["span"])

    return np.vstack([np.column_stack([column(unit, it) for it in features]) for unit in units])


def regressor(depth):
    return GradientBoostingRegressor(
        n_estimators=TREES,
        max_depth=depth,
        learning_rate=LEARNING_RATE,
        subsample=0.5,
        min_samples_leaf=40,
        max_features=0.4,
        random_state=SEED,
    )


def cross_validated_rmse(x, y, units, depth):
    squares = []
    for fit, check in GroupKFold(FOLDS).split(x, y, units):
        predicted = regressor(depth).fit(x[fit], y[fit]).predict(x[check]).clip(0.0, REMAINING_MAX)
        squares.append((predicted - y[check]) ** 2)
    return float(np.sqrt(np.concatenate(squares).mean()))


def short(value):
    """Seven digits are more than the data carry."""
    return float(f"{value:.7g}")


def tree_as_written(tree):
    """scikit-learn compares in float32 what the rule compares in float64: thresholds are halves between samples, so
    only a feature within float32 rounding of one may go another way."""
    leaf = tree.children_left < 0
    values = tree.value[:, 0, 0] * LEARNING_RATE
    return {
        "feature": [-1 if is_leaf else int(it) for is_leaf, it in zip(leaf, tree.feature)],
        "threshold": [short(v if is_leaf else t) for is_leaf, v, t in zip(leaf, values, tree.threshold)],
        "left": [0 if is_leaf else int(it) for is_leaf, it in zip(leaf, tree.children_left)],
        "right": [0 if is_leaf else int(it) for is_leaf, it in zip(leaf, tree.children_right)],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", help="CSV of units that ran to failure")
    parser.add_argument("model", help="where to write the model")
    arguments = parser.parse_args()

    units = read(arguments.train)
    y = np.minimum(np.concatenate([unit["rul"] for unit in units]), REMAINING_MAX)
    groups = np.repeat(np.arange(len(units)), [len(unit["rul"]) for unit in units])
    best = None
    for spans in SPANS:
        x = table(units, features_of(spans))
        for depth in DEPTHS:
            rmse = cross_validated_rmse(x, y, groups, depth)
            print(f"spans {spans}, depth {depth}: RMSE {rmse:.2f} cycles over {FOLDS} folds of units")
            if best is None or rmse < best[0]:
                best = (rmse, spans, depth, x)
    rmse, spans, depth, x = best
    fitted = regressor(depth).fit(x, y)
    model = {
        "format": "drover-remaining-life-1",
        "about": "Remaining cycles of the simulated turbofans of C-MAPSS FD001 (Saxena and Goebel 2008, NASA Ames "
        "Prognostics Data Repository, public). Gradient boosted trees, fitted by fit_remaining_life.py; spans and "
        f"depth by cross-validation over units. {len(units)} units, {len(y)} cycles.",
        "unit": "cycles",
        "remaining_max": REMAINING_MAX,
        "rmse": short(rmse),
        "inputs": SENSORS,
        "features": features_of(spans),
        "intercept": short(y.mean()),
        "trees": [tree_as_written(stage[0].tree_) for stage in fitted.estimators_],
    }
    with open(arguments.model, "w", encoding="utf-8", newline="\n") as file:
        json.dump(model, file, separators=(",", ":"))
        file.write("\n")
    print(f"{arguments.model}: spans {spans}, depth {depth}, states RMSE {rmse:.2f} cycles")


if __name__ == "__main__":
    main()

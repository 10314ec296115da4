"""What the tests of the tables share: drawn predictions, scores, the paper's files."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from hones_core.tables.common import Bootstrap

PAPER = Path(__file__).parent.parent / "resources" / "paper"
TASKS = ("vqa", "ocr", "caption", "retrieval")
MODELS = ("llava", "qwen")
COMPARE = {"llava": "llava-1.5-7b", "qwen": None}
BOOTSTRAP = Bootstrap(resamples=200, seed=1)
N = 60
AGREED = range(0, N, 3)  # places of the instances of vqa whose ten answers agree
ANSWERS = {
    f"vqa/{place}": ["yes"] * 9 + ["yes" if place in AGREED else "red"] for place in range(N)
}
GROUPS = ["+".join(g) for size in range(1, 5) for g in combinations(TASKS, size)]
EMPTY = "ocr+retrieval"


def mean_score(totals, n):
    return np.asarray(totals)[..., 0] / n


def ratio_score(totals, n):
    """Like corpus BLEU: a ratio of sums, so that it is not the mean of the instances' scores."""
    totals = np.asarray(totals)
    return totals[..., 0] / totals[..., 1]


SCORES = {"vqa": mean_score, "ocr": mean_score, "caption": ratio_score, "retrieval": mean_score}


def paper(name):
    return pd.read_csv(PAPER / f"{name}.csv")


def predictions(generator, task, quality, instances=range(N), **columns):
    """Rows of one system: right with probability `quality`, and then it says Yes."""
    rows = []
    for instance in instances:
        right = float(generator.random() < quality)
        length = float(generator.integers(5, 12))
        statistics = np.array([right * length, length] if task == "caption" else [right])
        said = {"prediction": "Yes" if right else "No", "statistics": statistics}
        rows.append({**columns, "instance_id": f"{task}/{instance}", **said})
    return pd.DataFrame(rows)


def places():
    return [(model, task) for model in MODELS for task in TASKS]


def row_of(frame, **where):
    found = frame
    for column, value in where.items():
        found = found[found[column] == value]
    assert len(found) == 1, f"{len(found)} rows for {where}"
    return found.iloc[0]


def score_of(frame, task):
    return float(SCORES[task](np.sum(frame["statistics"].tolist(), axis=0), len(frame)))

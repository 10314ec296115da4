"""Columns that the artifacts of several tables share."""

from hones_core.artifacts import Column

MODEL = Column("model", "string", "", "model, by its name in the config")
RANKER = Column("ranker", "string", "", "ranker whose top neurons are masked")
TASK = Column("task", "string", "", "vqa, ocr, caption or retrieval; avg: the mean over the tasks")
N_INSTANCES = Column("n_instances", "int64", "", "test instances; for avg the tasks' sum")
N_NEURONS = Column("n_neurons", "int64", "", "masked neurons; for avg the largest of the tasks'")
N_SEEDS = Column("n_seeds", "int64", "", "seeds of a random ranker, else 1")
LEVEL = Column("level", "float64", "", "level of the intervals")
N_RESAMPLES = Column("n_resamples", "int64", "", "bootstrap resamples of the instances")
PAPER_MODEL = Column("paper_model", "string", "", "the paper's model compared with; empty if none")
SHOWN = Column("shown", "bool", "", "whether the interval of the excess is above 0")

UNDEFINED = "NaN if the base scores 0"


def estimate_columns(name: str, unit: str, meaning: str, p: bool = True) -> tuple[Column, ...]:
    """A value with the columns of its bootstrap interval, and of its p against 0."""
    columns = [
        Column(name, "float64", unit, meaning, nan=True),
        Column(f"{name}_low", "float64", unit, f"lower end of the interval of {name}", nan=True),
        Column(f"{name}_high", "float64", unit, f"upper end of the interval of {name}", nan=True),
        Column(f"{name}_sd", "float64", unit, f"bootstrap standard deviation of {name}", nan=True),
    ]
    if p:
        columns.append(
            Column(f"{name}_p", "float64", "", f"two-sided bootstrap p of {name} = 0", nan=True)
        )
    return tuple(columns)


def spread_columns(prefix: str, unit: str, what: str) -> tuple[Column, ...]:
    return (
        Column(f"{prefix}_sd", "float64", unit, f"standard deviation of {what}", nan=True),
        Column(f"{prefix}_min", "float64", unit, f"smallest of {what}", nan=True),
        Column(f"{prefix}_max", "float64", unit, f"largest of {what}", nan=True),
    )


def drop_columns() -> tuple[Column, ...]:
    """A relative drop with its interval and p."""
    return estimate_columns("drop", "percent", f"relative drop (base - masked) / base; {UNDEFINED}")


# What stands beside the drop of a set of neurons: that of random sets of its size.
BESIDE_RANDOM = (
    Column("n_trials", "int64", "", "random sets of the same size"),
    Column("random_mean", "float64", "percent", "mean drop of the random sets", nan=True),
    *spread_columns("random", "percent", "the random sets' drops (sd is NaN with one set)"),
    *estimate_columns("excess", "percentage point", "drop less the random sets' mean drop"),
    SHOWN,
)

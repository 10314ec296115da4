"""Every ranker's name, the tasks it applies to, and the artifacts it reads.

The one table that the settings, the rules and `rank_neurons` share. It imports nothing, so that the
configuration can be checked without the library's packages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOKEN_LEVEL = ("vqa",)  # the tasks whose target is one short answer (METHOD 6)


@dataclass(frozen=True)
class Entry:
    """What one ranker needs.

    `artifacts` of the same model and task; `tasks` it applies to (None: all); `seeded` if it is
    random and gives one order a seed; `compares_tasks` if it reads the activation statistics of all
    tasks of the run, and so applies where there are several.
    """

    artifacts: tuple[str, ...]
    tasks: tuple[str, ...] | None = None
    seeded: bool = False
    compares_tasks: bool = False


CATALOGUE: dict[str, Entry] = {
    "hones": Entry(("head_ranking", "neuron_effects")),
    "no_head": Entry(("neuron_effects",)),
    "rand_head": Entry(("head_ranking", "neuron_effects", "random_head_effects"), seeded=True),
    "gaussian": Entry(("head_ranking", "neuron_effects", "gaussian_effects")),
    "ma": Entry(("activation_statistics",)),
    "ap": Entry(("activation_statistics",)),
    "ape": Entry(("activation_statistics",)),
    "mmneuron": Entry(("activation_statistics",), compares_tasks=True),
    "random": Entry(("neuron_effects",), seeded=True),
    "dla": Entry(("dla_scores",), TOKEN_LEVEL),
    "group_patching": Entry(("neuron_effects", "group_patching_effects"), TOKEN_LEVEL),
    "qrnca": Entry(("qrnca_scores",), TOKEN_LEVEL),
    "llm_knowledge": Entry(("llm_knowledge_scores",), TOKEN_LEVEL),
}


def applicable(rankers: Iterable[str], task: str, tasks: Sequence[str]) -> list[str]:
    """Those of `rankers` that apply to the task in a run of `tasks`, in their order.

    Raises ValueError for a ranker that is not in the catalogue.
    """
    found = []
    for name in rankers:
        if name not in CATALOGUE:
            raise ValueError(f"unknown ranker {name!r}; known: {', '.join(CATALOGUE)}")
        entry = CATALOGUE[name]
        if task in (entry.tasks or (task,)) and not (entry.compares_tasks and len(tasks) < 2):
            found.append(name)
    return found


def artifacts_for(rankers: Iterable[str]) -> list[str]:
    """The artifacts of a task that these rankers read, without repeats."""
    return list(dict.fromkeys(part for name in rankers for part in CATALOGUE[name].artifacts))


def compares_tasks(rankers: Iterable[str]) -> bool:
    """Whether one of these rankers reads the activation statistics of all tasks."""
    return any(CATALOGUE[name].compares_tasks for name in rankers)


def can_be_drawn(ranker: str) -> bool:
    """Whether the ranker's order depends on the task's samples, and on nothing else that varies."""
    entry = CATALOGUE[ranker]
    return not entry.seeded and not entry.compares_tasks

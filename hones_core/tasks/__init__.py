"""The four tasks: prompt, target and metric of each (METHOD 2, 3 and 5).

Every task is a module with the same names, so that a stage works for any task:

KIND                              "generation" or "ranking"
TARGET_KIND                       "fixed" or "open_ended" (METHOD 5)
STATISTICS                        the names of what `statistics` returns, in order
instruction(family, instance, candidate=None)
                                  the prompt without the model's chat template
targets(instance)                 the texts whose unembedding rows define the target direction
utility(output, instance)         the instance's score in [0, 1], higher is better
statistics(output, instance)      what to sum over instances ...
score(total_statistics, n)        ... to get the task's score in [0, 1]

`output` is the predicted text of a generation task and the scores of the candidates, in their
order, of a ranking task. A further task is one more module and one more line here.
"""

from types import ModuleType

from hones_core.tasks import caption, ocr, retrieval, vqa
from hones_core.tasks.instances import Instance

TASKS: dict[str, ModuleType] = {
    "vqa": vqa,
    "ocr": ocr,
    "caption": caption,
    "retrieval": retrieval,
}


def get_task(name: str) -> ModuleType:
    """Return the module of a task; ValueError that lists the known ones."""
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; known tasks are {', '.join(TASKS)}")
    return TASKS[name]


__all__ = ["TASKS", "Instance", "get_task"]

"""The sample browser's data: image, prompt, and what the model said each time."""

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from hones_core.benchmark.images import open_image
from hones_core.tasks import get_task
from hones_core.tasks.instances import Instance

WIDTH = 200  # pixels of the images in the page
QUALITY = 80  # of their JPEG


@dataclass(frozen=True)
class Sample:
    """One instance as the page shows it; `outputs` are (what was done, answer, utility)."""

    model: str
    task: str
    instance: str
    image: str
    prompt: str
    reference: str
    changed: bool
    outputs: tuple[tuple[str, str, float], ...]


def choose_samples(
    model: str,
    family: str,
    instances: Sequence[Instance],
    masked: pd.DataFrame,
    steered: pd.DataFrame,
    count: int,
) -> list[Sample]:
    """`count` test instances of one model and task, those whose answer changes first, then by id.

    `masked` and `steered` are MASKED_PREDICTIONS and STEERED_PREDICTIONS. Raises KeyError for an
    instance that one of them lacks.
    """
    said = {
        "base": _answers(steered[steered["method"] == "base"]),
        "masked": _answers(masked[(masked["ranker"] == "hones") & (masked["seed"] == 0)]),
        "steered": _answers(steered[steered["method"] == "hones"]),
    }
    found = []
    for one in instances:
        outputs = tuple(
            (name, *answers[one.instance_id]) for name, answers in said.items() if answers
        )
        changed = len({(answer, score) for _, answer, score in outputs}) > 1
        found.append(
            Sample(
                model,
                one.task,
                one.instance_id,
                f"{one.task}/{one.image}",
                _prompt(family, one),
                _reference(one),
                changed,
                outputs,
            )
        )
    return sorted(found, key=lambda sample: (not sample.changed, sample.instance))[:count]


def thumbnail(folder: str, file_name: str) -> str:
    """The image as a data URI of at most WIDTH pixels in width; ImageError as `open_image`."""
    image = open_image(folder, file_name)
    image.thumbnail((WIDTH, WIDTH))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def as_json(samples: Sequence[Sample], images: dict[str, str]) -> dict:
    """What the page's script reads."""
    return {"samples": [asdict(sample) for sample in samples], "images": images}


def _answers(rows: pd.DataFrame) -> dict[str, tuple[str, float]]:
    return {
        row.instance_id: (row.prediction, round(float(row.utility), 4)) for row in rows.itertuples()
    }


def _prompt(family: str, instance: Instance) -> str:
    return get_task(instance.task).instruction(family, instance, instance.positive_candidate)


def _reference(instance: Instance) -> str:
    return instance.positive_candidate or " / ".join(dict.fromkeys(instance.references))

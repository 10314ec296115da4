"""The instances of each task: one image, four tasks (METHOD 1)."""

from typing import Any

import pandas as pd

from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.splits import used_records
from hones_core.schemas.benchmark import INSTANCES


def build_instances(
    task: str,
    records: pd.DataFrame,
    splits: pd.DataFrame,
    pools: pd.DataFrame | None = None,
    ocr_images: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The instances of `task` for all images in a split; for retrieval, of the query images.

    The other arguments are frames of the schemas RECORDS, SPLITS, RETRIEVAL_POOLS (for `retrieval`
    only) and OCR_IMAGES (for `ocr` only). Returns a frame of the schema INSTANCES. Raises
    BenchmarkError if the frames are not about the same images.
    """
    used = used_records(records, splits)
    if task == "vqa":
        return _instances(task, used, question=used["question"], references=used["answers"])
    if task == "caption":
        return _instances(task, used, references=used["captions"])
    if task == "ocr":
        return _ocr_instances(used, _given(ocr_images, task, "ocr_images"))
    if task == "retrieval":
        return _retrieval_instances(used, _given(pools, task, "pools"))
    raise ValueError(f"task is {task!r}, not one of vqa, ocr, caption, retrieval")


def _given(frame: pd.DataFrame | None, task: str, name: str) -> pd.DataFrame:
    if frame is None:
        raise ValueError(f"task {task!r} needs the argument {name}")
    return frame


def _instances(task: str, used: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """One instance per row of `used`; `columns` replace the defaults of the schema's columns."""
    empty: list[list[str]] = [[] for _ in range(len(used))]
    defaults = {
        "instance_id": [f"{task}/{image_id}" for image_id in used["image_id"]],
        "task": task,
        "split": used["split"],
        "image_id": used["image_id"],
        "image": used["file_name"],
        "question": "",
        "references": empty,
        "candidates": empty,
        "positive_index": -1,
    }
    frame = pd.DataFrame({**defaults, **columns}, columns=INSTANCES.names, index=used.index)
    return frame.sort_values("instance_id", ignore_index=True)


def _ocr_instances(used: pd.DataFrame, ocr_images: pd.DataFrame) -> pd.DataFrame:
    drawn = ocr_images.set_index("image_id")
    wrong = sorted(set(drawn.index) ^ set(used["image_id"]))
    if wrong or len(drawn) != len(used):
        raise BenchmarkError(
            f"the OCR images are not those of the splits ({len(drawn)} drawn, {len(used)} in a "
            f"split, {len(wrong)} in only one of the two, first {wrong[:1]}); draw them again"
        )
    names = drawn["file_name"].reindex(used["image_id"]).to_list()
    references = [[transcription] for transcription in used["transcription"]]
    return _instances("ocr", used, image=names, references=references)


def _retrieval_instances(used: pd.DataFrame, pools: pd.DataFrame) -> pd.DataFrame:
    split_of = dict(zip(used["image_id"], used["split"], strict=True))
    candidates: dict[int, list[str]] = {}
    positive: dict[int, int] = {}
    ordered = pools.sort_values(["image_id", "candidate"])
    for image_id, group in ordered.groupby("image_id", sort=True):
        _check_pool(image_id, group, split_of)
        candidates[image_id] = group["caption"].to_list()
        positive[image_id] = int(group["is_positive"].to_numpy().argmax())
    queries = used[used["image_id"].isin(list(candidates))].reset_index(drop=True)
    return _instances(
        "retrieval",
        queries,
        candidates=[candidates[image_id] for image_id in queries["image_id"]],
        positive_index=[positive[image_id] for image_id in queries["image_id"]],
    )


def _check_pool(image_id: int, group: pd.DataFrame, split_of: dict[int, str]) -> None:
    """Raise BenchmarkError unless `group` is a whole pool of a query image of the same split."""
    problem = None
    if set(group["split"]) != {split_of.get(image_id)}:
        problem = f"is in split {split_of.get(image_id)}, its pool in {sorted(set(group['split']))}"
    elif group["candidate"].to_list() != list(range(len(group))):
        problem = "has a gap in its candidates"
    elif group["is_positive"].sum() != 1:
        problem = f"has {group['is_positive'].sum()} positive candidates, not one"
    if problem:
        raise BenchmarkError(f"image {image_id} {problem}; mine the retrieval pools again")

"""Parts of a task's instances by what they ask: answer type, lengths, box height, difficulty."""

from collections.abc import Callable

import pandas as pd

COLUMNS = ["instance_id", "aspect", "part"]


def instance_parts(task: str, records: pd.DataFrame, pools: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of instance_id, aspect and part for every instance that the task can have.

    `records` is the RECORDS artifact, `pools` RETRIEVAL_POOLS (needed for retrieval only). Numbers
    are divided into thirds of the records that are given. Raises KeyError for an unknown task.
    """
    parts = ASPECTS[task](records, pools)
    ids = [f"{task}/{image_id}" for image_id in parts["image_id"]]
    return parts.assign(instance_id=ids)[COLUMNS]


def thirds(values: pd.Series) -> pd.Series:
    """The third in which each value lies, as words with its bounds; equal values stay together."""
    low, high = values.quantile([1 / 3, 2 / 3])
    names = {
        "low": f"low (to {low:g})",
        "mid": f"middle (to {high:g})",
        "high": f"high (above {high:g})",
    }

    def place(value: float) -> str:
        return names["low" if value <= low else "mid" if value <= high else "high"]

    return values.map(place)


def _vqa(records: pd.DataFrame, pools: pd.DataFrame | None) -> pd.DataFrame:
    return pd.concat(
        [_rows(records, name, records[name]) for name in ("answer_type", "question_type")]
    )


def _ocr(records: pd.DataFrame, pools: pd.DataFrame | None) -> pd.DataFrame:
    return pd.concat(
        [
            _rows(records, "text_length", thirds(records["transcription"].str.len())),
            _rows(records, "box_height", thirds(records["box_h"].round())),
        ]
    )


def _caption(records: pd.DataFrame, pools: pd.DataFrame | None) -> pd.DataFrame:
    words = records["captions"].map(lambda texts: sum(len(text.split()) for text in texts))
    mean = words / records["captions"].map(len)
    return _rows(records, "caption_length", thirds(mean.round(1)))


def _retrieval(records: pd.DataFrame, pools: pd.DataFrame | None) -> pd.DataFrame:
    if pools is None:
        raise ValueError("parts of retrieval need the retrieval pools")
    hardest = pools[~pools["is_positive"]].groupby("image_id")["cosine"].max().round(3)
    queries = pd.DataFrame({"image_id": hardest.index})
    return _rows(queries, "hardest_negative", thirds(hardest.reset_index(drop=True)))


def _rows(records: pd.DataFrame, aspect: str, parts: pd.Series) -> pd.DataFrame:
    ids = records["image_id"].to_numpy()
    return pd.DataFrame({"image_id": ids, "aspect": aspect, "part": parts.to_numpy()})


ASPECTS: dict[str, Callable[[pd.DataFrame, pd.DataFrame | None], pd.DataFrame]] = {
    "vqa": _vqa,
    "ocr": _ocr,
    "caption": _caption,
    "retrieval": _retrieval,
}

"""Metrics of the out-of-distribution sets: the first is the utility, the others are columns.

GQA has one answer, its metric is the exact match after VQA normalisation. It is stored ten times,
as if ten people had given it, and then VQA accuracy *is* that exact match: an answer that matches
meets nine equal ones of the others, more than the three needed, so it scores 1, any other 0.
"""

from collections.abc import Callable, Mapping

from hones_core.tasks import caption, ocr, retrieval, vqa
from hones_core.tasks.instances import Instance

Metric = Callable[..., float]  # (output, instance) -> [0, 1]; `output` as in hones_core.tasks


def _anls(prediction: str, instance: Instance) -> float:
    return ocr.anls(prediction, instance.references)


METRICS: Mapping[str, Mapping[str, Metric]] = {
    "gqa": {"exact_match": vqa.utility},
    "textvqa": {"vqa_accuracy": vqa.utility, "anls": _anls},
    "flickr30k_caption": {"bleu4": caption.utility},
    "flickr30k_retrieval": {"ndcg5": retrieval.utility},
}

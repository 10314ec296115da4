"""The out-of-distribution sets (METHOD 8, E.3): which task asks, and whose neurons are masked."""

from collections.abc import Container, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class OodSet:
    """One set of out-of-distribution instances.

    dataset         gqa, textvqa or flickr30k
    task            the task whose prompt and metric it takes
    in_domain_task  the task whose groups and scales are tried on it
    """

    dataset: str
    task: str
    in_domain_task: str


OOD_DATASETS = ("gqa", "textvqa", "flickr30k")
OOD_SETS = {
    "gqa": OodSet("gqa", "vqa", "vqa"),
    "textvqa": OodSet("textvqa", "vqa", "ocr"),  # reads text, but is asked a question
    "flickr30k_caption": OodSet("flickr30k", "caption", "caption"),
    "flickr30k_retrieval": OodSet("flickr30k", "retrieval", "retrieval"),
}


def sets_in_run(names: Iterable[str], tasks: Container[str]) -> list[str]:
    """Of the sets those whose in-domain task is run: there are groups and scales to try on them."""
    return [name for name in names if OOD_SETS[name].in_domain_task in tasks]

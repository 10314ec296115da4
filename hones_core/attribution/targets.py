"""The target direction u_y in unembedding space, and the IDF weights of open-ended targets."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor


class InverseDocumentFrequency:
    """idf(w) = ln((N + 1) / (df(w) + 1)) + 1 over token ids (METHOD 5).

    One document is one image's references together; the documents are those of the discovery
    split. A token that no document holds has df 0.
    """

    def __init__(self, documents: Iterable[Iterable[int]]):
        self.n_documents = 0
        self.document_frequency: Counter[int] = Counter()
        for document in documents:
            self.n_documents += 1
            self.document_frequency.update(set(document))

    def __call__(self, token: int) -> float:
        return math.log((self.n_documents + 1) / (self.document_frequency[token] + 1)) + 1


def target_direction(
    unembedding: Tensor,
    token_ids: Sequence[Sequence[int]],
    idf: Callable[[int], float] | None = None,
    idf_tokens: str = "all",
) -> Tensor:
    """u_y, a unit vector [d] in float32.

    token_ids holds one list per target text. Without `idf` (fixed-set targets) u_y is the
    normalised mean of the tokens' rows of U; with it (open-ended targets) their normalised
    IDF-weighted sum. `idf_tokens`: 'all' counts repeated tokens, 'unique' takes each once.
    """
    tokens = [token for text in token_ids for token in text]
    if not tokens:
        raise ValueError("a target without tokens has no direction")
    if idf is not None and idf_tokens == "unique":
        tokens = sorted(set(tokens))
    weights = [1.0 if idf is None else idf(token) for token in tokens]
    rows = unembedding[tokens].float()
    total = torch.tensor(weights, device=rows.device) @ rows / sum(weights)
    return torch.nn.functional.normalize(total, dim=0)

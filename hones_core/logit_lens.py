"""Logit lens: what each layer's FFN takes from the tokens when a group is silenced (METHOD 9).

At the last prompt token, layer l's FFN writes `mlp_out^l = W^l z^l` to the residual stream, which
adds `U mlp_out^l` to the logits as far as it goes there directly. The lost logit of a token is that
of the unchanged run less that of the masked run: positive where silencing the group takes from the
token, negative where it gives.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hones_core.attribution.token_level.last_position import inverse_rms, recorded_inputs
from hones_core.engine.activations import LastTokenActivations
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import ZeroNeurons
from hones_core.models.adapter import Adapter
from hones_core.neuron_sets import NeuronSet
from hones_core.progress import progress
from hones_core.schemas.lens import KINDS, LOGIT_LENS_BY_LAYER, LOGIT_LENS_TOKENS
from hones_core.tasks.instances import Instance
from hones_core.vocabulary import Vocabulary, read_vocabulary

NORMS = ("none", "own", "frozen")
TOP = 5  # tokens kept of each layer


def measure_logit_lens(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    sets: Mapping[str, tuple[str, NeuronSet]],
    norm: str = "none",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The LOGIT_LENS_BY_LAYER and LOGIT_LENS_TOKENS artifacts of the instances.

    `sets` gives each set's overlap group and neurons; an empty set has no rows. `norm` as in
    `lens_logits`. One forward pass an instance and one a set, from its lowest layer on. Raises
    ValueError for another norm.
    """
    if norm not in NORMS:
        raise ValueError(f"unknown norm {norm!r} of the logit lens; known: {NORMS}")
    adapter = evaluator.adapter
    words = read_vocabulary(adapter.tokenizer, len(adapter.unembedding), adapter.stop_ids)
    masks = {name: ZeroNeurons.of(neurons) for name, (_, neurons) in sets.items() if neurons}
    by_layer, tokens = [], []
    chunks = evaluator.prompt_chunks(instances) if masks else []
    with torch.inference_mode():
        label = f"{evaluator.task_name} logit lens"
        for chunk in progress(chunks, label, size=len, unit="samples"):
            ids = [instance.instance_id for instance in chunk]
            kinds = kind_masks(evaluator, chunk, words)
            for name, layer, lost in lost_logits(evaluator, chunk, masks, norm):
                place = {"set": name, "group": sets[name][0], "layer": layer}
                by_layer.append(_mean_rows(lost, kinds, ids, place))
                tokens.append(_top_rows(lost, kinds, ids, words, place))
    return _joined(by_layer, LOGIT_LENS_BY_LAYER.names), _joined(tokens, LOGIT_LENS_TOKENS.names)


def lost_logits(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    masks: Mapping[str, ZeroNeurons],
    norm: str = "none",
) -> Iterator[tuple[str, int, Tensor]]:
    """(mask, layer, base less masked lens logits [B, V]) of one batch; 0 where nothing changes."""
    adapter = evaluator.adapter
    final_norm = adapter.language_model.norm
    with evaluator.named(instances):
        with recorded_inputs([final_norm]) as residual:
            activations = LastTokenActivations(evaluator, instances)
        inverse = inverse_rms(final_norm, residual[0])
        base = [
            lens_logits(adapter, layer, activations.base[:, layer], norm, inverse)
            for layer in range(adapter.n_layers)
        ]
        for name, masked in activations.under(masks):
            for layer in range(adapter.n_layers):
                logits = lens_logits(adapter, layer, masked[:, layer], norm, inverse)
                yield name, layer, base[layer] - logits


def lens_logits(adapter: Adapter, layer: int, z: Tensor, norm: str, inverse: Tensor) -> Tensor:
    """`U mlp_out` of one layer in float32, [B, V], from its activations z [B, m].

    norm 'none': the raw output. 'own': through the final norm, with the output's own variance.
    'frozen': times the final norm's weight and `inverse` [B, 1], one over the root mean square of
    the unchanged run's final residual: a layer's share of the logits of that run.
    """
    down = adapter.layers[layer].mlp.down_proj
    bias = None if down.bias is None else down.bias.float()
    written = nn.functional.linear(z.to(down.weight.device), down.weight.float(), bias)
    final_norm = adapter.language_model.norm
    if norm != "none":
        written = written.to(final_norm.weight.device)
    if norm == "own":
        written = final_norm(written)
    if norm == "frozen":
        written = written * final_norm.weight.float() * inverse.to(written.device)
    return adapter.logits(written)


def target_tokens(evaluator: Evaluator, instance: Instance, words: Vocabulary) -> list[int]:
    """The tokens of an instance's targets, each once.

    Those of white space alone are left out, and in open-ended targets (captions) all format tokens,
    unless nothing else is there.
    """
    found = {token for text in evaluator.target_ids(instance) for token in text}
    is_open = evaluator.task.TARGET_KIND == "open_ended"
    left_out = words.is_format if is_open else words.is_blank
    return sorted(token for token in found if not left_out[token]) or sorted(found)


def kind_masks(
    evaluator: Evaluator, instances: Sequence[Instance], words: Vocabulary
) -> dict[str, np.ndarray]:
    """Which tokens are of which kind for each instance, {kind: [B, V]}; each token has one kind."""
    target = np.zeros((len(instances), len(words.texts)), dtype=bool)
    for row, instance in enumerate(instances):
        target[row, target_tokens(evaluator, instance, words)] = True
    others = words.is_token & ~words.is_format
    return {"target": target, "format": words.is_format & ~target, "other": others & ~target}


def _mean_rows(
    lost: Tensor, kinds: Mapping[str, np.ndarray], ids: Sequence[str], place: dict
) -> pd.DataFrame:
    values = lost.double().cpu().numpy()
    frames = []
    for kind in KINDS:
        counts = kinds[kind].sum(1)
        frames.append(
            pd.DataFrame(
                {
                    "kind": kind,
                    "instance_id": ids,
                    "n_tokens": counts,
                    "lost": np.where(kinds[kind], values, 0).sum(1) / counts,
                }
            )
        )
    return pd.concat(frames).assign(**place)


def _top_rows(
    lost: Tensor,
    kinds: Mapping[str, np.ndarray],
    ids: Sequence[str],
    words: Vocabulary,
    place: dict,
) -> pd.DataFrame:
    """The TOP tokens that lose most, ties by token id; those that lose nothing are left out."""
    no_token = torch.as_tensor(~(kinds["target"] | kinds["format"] | kinds["other"]))
    ranked = lost.cpu().masked_fill(no_token, -torch.inf).sort(dim=1, descending=True, stable=True)
    values, tokens = (part[:, :TOP].numpy() for part in ranked)
    rows, ranks = np.nonzero(values > 0)
    chosen = tokens[rows, ranks]
    kind = np.select([kinds[name][rows, chosen] for name in KINDS], KINDS, default="")
    return pd.DataFrame(
        {
            "instance_id": np.array(ids, dtype=object)[rows],
            "rank": ranks,
            "token_id": chosen,
            "token": np.array(words.texts, dtype=object)[chosen],
            "kind": kind,
            "lost": values[rows, ranks].astype(np.float64),
        }
    ).assign(**place)


def _joined(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True)[columns]

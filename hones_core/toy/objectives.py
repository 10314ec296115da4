"""What training asks of the model: right answers, seen patches, judged claims, few neurons."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from hones_core.toy.prompts import FastEncoder
from hones_core.toy.scenes import MAX_CHARACTERS
from hones_core.toy.training_data import IGNORED, TASKS, Batch
from hones_core.toy.vocabulary import CHARACTERS, COLOURS, SHAPES


class Auxiliary(nn.Module):
    """Heads that training throws away: what a patch shows, and whether a claim is true.

    Colour, shape and character of a patch are read from the projector's output by the embeddings of
    their words, so that image and text meet in one space before the language model is trained.
    """

    def __init__(self, width: int, encoder: FastEncoder):
        super().__init__()
        words = {
            "colour": ["\u0120" + name for name in COLOURS],
            "shape": ["\u0120" + name for name in SHAPES],
            "character": list(CHARACTERS),
        }
        self.word_ids = {
            name: torch.tensor([encoder.ids[word] for word in entries])
            for name, entries in words.items()
        }
        self.nothing = nn.ParameterDict({name: torch.zeros(width) for name in words})
        self.place = nn.Linear(width, 1 + MAX_CHARACTERS)
        self.boxed = nn.Linear(width, 2)
        self.claim = nn.Linear(width, 1)

    def patch_loss(
        self, features: Tensor, embeddings: Tensor, labels: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the patch labels, and the accuracy where there is something.

        features [B, 64, d] from the projector, embeddings [V, d], labels name -> [B, 64].
        """
        loss, accuracy = features.new_zeros(()), {}
        for name, label in labels.items():
            if name in self.word_ids:
                words = embeddings[self.word_ids[name].to(features.device)]
                logits = features @ torch.cat([self.nothing[name][None], words]).T
            else:
                logits = getattr(self, name)(features)
            label = label.reshape(-1)
            logits = logits.reshape(len(label), -1)
            # patches that show nothing are the most; they count a fifth
            weight = torch.where(label > 0, 1.0, 0.2)
            losses = functional.cross_entropy(logits, label, reduction="none")
            loss = loss + (losses * weight).sum() / weight.sum()
            some = label > 0
            accuracy[name] = (logits.argmax(-1) == label)[some].float().mean().item()
        return loss, accuracy


class Taps:
    """Keeps what one forward pass of the language model shows inside: FFN activations, a layer."""

    def __init__(self, model: PreTrainedModel, claim_layer: int):
        self.layers = model.model.language_model.layers
        self.activations: list[Tensor] = [torch.empty(0)] * len(self.layers)
        self.middle = torch.empty(0)
        for index, layer in enumerate(self.layers):
            layer.mlp.down_proj.register_forward_pre_hook(self._keep(index))
        self.layers[claim_layer].register_forward_hook(self._keep_middle)

    def _keep(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self.activations[index] = arguments[0]

        return hook

    def _keep_middle(self, _module: nn.Module, _arguments: tuple, output: Any) -> None:
        self.middle = output[0] if isinstance(output, tuple) else output

    def written(self, where: Tensor) -> Tensor:
        """Mean length of what a neuron writes, |z_i| * |W_i|, over the positions in `where`.

        The length of the column is part of it, so that small activations can't hide behind long
        columns.
        """
        total = self.middle.new_zeros(())
        for layer, z in zip(self.layers, self.activations, strict=True):
            lengths = layer.mlp.down_proj.weight.norm(dim=0)
            total = total + (z[where].abs() * lengths).mean()
        return total / len(self.layers)

    def false_yes(self, where: Tensor, yes_minus_no: Tensor) -> Tensor:
        """Mean over `where` of what neurons write towards Yes, where the answer is No.

        Where only this is low, Yes is not said by default and taken back, but said on a match.
        """
        total = self.middle.new_zeros(())
        for layer, z in zip(self.layers, self.activations, strict=True):
            towards = yes_minus_no @ layer.mlp.down_proj.weight
            total = total + (z[where] * towards).clamp(min=0).mean()
        return total / len(self.layers)


def read_packs(
    model: PreTrainedModel, batch: Batch, features: Tensor, encoder: FastEncoder
) -> Tensor:
    """Run the language model over packs; return the hidden states of the segments, [B, T, d]."""
    language = model.model.language_model

    def read(ids: list[int]) -> Tensor:
        rows = torch.tensor(ids, dtype=torch.long, device=features.device)
        return language.embed_tokens(rows.expand(len(features), -1))

    parts = [read(encoder.prefix), features, read(encoder.after_image)]
    embedded = torch.cat([*parts, language.embed_tokens(batch.ids)], dim=1)
    hidden = language(
        inputs_embeds=embedded,
        attention_mask=batch.mask,
        position_ids=batch.positions.squeeze(0),
        use_cache=False,
    ).last_hidden_state
    return hidden[:, -batch.ids.shape[1] :]


def answer_loss(
    model: PreTrainedModel, batch: Batch, hidden: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Weighted cross-entropy of the answers' tokens, and each task's share of right tokens.

    Retrieval is scored on Yes and No alone; the end of sequence after them is learned, not counted.
    """
    where = batch.targets != IGNORED
    logits = model.lm_head(hidden[where])
    targets, weights, tasks = batch.targets[where], batch.weights[where], batch.tasks[where]
    losses = functional.cross_entropy(logits, targets, reduction="none")
    loss = (losses * weights).sum() / weights.sum()
    right = (logits.argmax(-1) == targets).float()
    counted = targets != model.config.text_config.eos_token_id
    accuracy = {
        task: right[(tasks == index) & counted].mean().item() for index, task in enumerate(TASKS)
    }
    return loss, accuracy


def copy_loss(model: PreTrainedModel, batch: Batch, hidden: Tensor) -> Tensor:
    """Cross-entropy of the answers' tokens as read by the word embeddings, not the unembedding.

    The embeddings see the dimensions that attention may write. A head that fetches the right patch
    is rewarded at once, before any FFN can say what was fetched.
    """
    where = batch.targets != IGNORED
    table = model.model.language_model.embed_tokens.weight
    weights = batch.weights[where]
    losses = functional.cross_entropy(
        hidden[where] @ table.T, batch.targets[where], reduction="none"
    )
    return (losses * weights).sum() / weights.sum()


def claim_loss(auxiliary: Auxiliary, batch: Batch, middle: Tensor) -> tuple[Tensor, float]:
    """Binary cross-entropy of 'this thing is in the image' at the last word of each phrase."""
    where = batch.claims != IGNORED
    logits = auxiliary.claim(middle[:, -batch.ids.shape[1] :][where]).squeeze(-1)
    truth = batch.claims[where].float()
    loss = functional.binary_cross_entropy_with_logits(logits, truth)
    return loss, ((logits > 0) == (truth > 0)).float().mean().item()

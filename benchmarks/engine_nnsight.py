"""The benchmark's work written with nnsight, for comparison. nnsight is needed for nothing else."""

import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hones_core.engine import plain
from hones_core.engine.interventions import mean_replace_head, scale_neurons
from hones_core.models.adapter import Adapter

if TYPE_CHECKING:
    from hones_core.steering.bank import Bank
    from hones_core.steering.examples import Example


def open_nnsight(adapter: Adapter) -> tuple["Traced | None", str]:
    """The model in nnsight's hands and nnsight's version, or None and why there is none."""
    try:
        traced = Traced(adapter)
    except Exception as error:  # whatever an optional package does, the rest is measured
        return None, f"not available: {type(error).__name__}: {error}"
    return traced, f"nnsight {version('nnsight')}"


class Traced:
    """Stock forward and `generate` with the interventions written as nnsight traces."""

    def __init__(self, adapter: Adapter):
        from nnsight import NNsight

        # An open loop over decoding steps ends with the answer, of which nnsight warns.
        warnings.filterwarnings("ignore", message=".*was never reached.*")
        self.adapter = adapter
        self.model = NNsight(adapter.model)
        self.layers = self.model.model.language_model.layers

    def answers(
        self, head: tuple[int, int], prompts: plain.Prompts, length: int
    ) -> list[list[int]]:
        """Greedy tokens under one mean-replaced head."""
        adapter, n_heads = self.adapter, self.adapter.n_heads
        inputs = adapter.inputs(list(prompts.images), list(prompts.texts))
        kept = []

        def generate(**kwargs: object) -> None:
            kept.append(adapter.model.generate(**kwargs))

        index, number = head
        module = self.layers[index].self_attn.o_proj
        config = plain.greedy_config(adapter, length)
        with self.model.trace(fn=generate, **inputs, generation_config=config) as tracer:
            for _ in tracer.iter[:]:
                module.input = mean_replace_head(module.input, number, n_heads)
        return kept[0][:, inputs["input_ids"].shape[1] :].tolist()

    def margins(self, head: tuple[int, int], query: plain.Query) -> Tensor:
        """logit(Yes) - logit(No) of the query's candidates, all in one batch."""
        adapter, n_heads = self.adapter, self.adapter.n_heads
        inputs = adapter.inputs([query.image] * len(query.texts), list(query.texts))
        index, number = head
        module = self.layers[index].self_attn.o_proj
        with self.model.trace(**inputs, use_cache=False, logits_to_keep=1):
            module.input = mean_replace_head(module.input, number, n_heads)
            logits = self.model.output.logits[:, -1].float().save()
        yes, no = query.yes_no
        return logits[:, yes] - logits[:, no]

    def activations(self, head: tuple[int, int], images: list, texts: list[str]) -> Tensor:
        """z at the last prompt token under one mean-replaced head, [B, L, m]."""
        adapter, n_heads = self.adapter, self.adapter.n_heads
        inputs = adapter.inputs(images, texts)
        index, number = head
        records = []
        with self.model.trace(**inputs, use_cache=False, logits_to_keep=1):
            for place, layer in enumerate(self.layers):
                if place == index:
                    module = layer.self_attn.o_proj
                    module.input = mean_replace_head(module.input, number, n_heads)
                records.append(layer.mlp.down_proj.input[:, -1].float().save())
        return torch.stack(records, dim=1)

    def loss_terms(
        self,
        evaluator: object,
        bank: "Bank",
        scales: Tensor,
        examples: Sequence["Example"],
        targets: Sequence[Sequence[int]],
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy and KL of a batch, as `hones_core.steering.training.loss_terms`."""
        inputs, ids, mask = self._forced(evaluator, examples, targets)
        steered = bank.intervention(scales).bank
        keep = ids.shape[1] + 1
        with torch.no_grad(), self.model.trace(**inputs, use_cache=False, logits_to_keep=keep):
            base = self.model.output.logits.save()
        with self.model.trace(**inputs, use_cache=False, logits_to_keep=keep):
            for place, layer in enumerate(self.layers):
                if place in steered:
                    module = layer.mlp.down_proj
                    module.input = scale_neurons(module.input, *steered[place])
            own = self.model.output.logits.save()
        teacher, student = (part[:, :-1].float().log_softmax(-1) for part in (base, own))
        tokens = student.gather(-1, ids[..., None]).squeeze(-1)
        kl = (teacher.exp() * (teacher - student)).sum(-1)
        return -tokens[mask].mean(), kl[mask].mean()

    def _forced(self, evaluator, examples, targets) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The stock model's inputs for prompts and targets, the targets' ids and mask."""
        adapter = self.adapter
        instances = [example.instance for example in examples]
        inputs = adapter.inputs(
            evaluator.images(instances), [evaluator.text(one) for one in instances]
        )
        width = max(len(target) for target in targets)
        ids = torch.tensor([[*target, *[0] * (width - len(target))] for target in targets])
        mask = torch.arange(width) < torch.tensor([len(target) for target in targets])[:, None]
        ids, mask = ids.to(adapter.device), mask.to(adapter.device)
        behind = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": ids * 0}
        for name, values in behind.items():
            if name in inputs:
                whole = [inputs[name], values.to(inputs[name].dtype)]
                inputs[name] = torch.cat(whole, dim=1)
        return inputs, ids, mask

"""What the tests of learning share: a bank's neurons, examples, and the loss of a copied model."""

import torch
from model_support import ids_in_context, make_instances
from torch.func import functional_call

from hones_core.steering.examples import Example

NEURONS = [(0, 2), (0, 19), (1, 3), (1, 4), (1, 11)]


def examples_of(task: str) -> list[Example]:
    instances = make_instances(task)
    if task == "retrieval":
        pairs = zip(instances, ("Yes", "No", "No"), strict=True)
        return [Example(item, target, item.candidates[1]) for item, target in pairs]
    return [Example(item, item.references[0]) for item in instances]


def scaled_logits(tiny, evaluator, example, scales) -> tuple[torch.Tensor, list[int]]:
    """Logits [A, V] that predict the target of a stock model whose columns are (1 + s) W."""
    text = evaluator.text(example.instance, example.candidate)
    ids = [*ids_in_context(tiny, text, example.target), tiny.processor.tokenizer.eos_token_id]
    inputs = tiny.inputs(example.instance.image, text)
    tokens = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
    weights = {}
    for layer in range(2):
        name = f"model.language_model.layers.{layer}.mlp.down_proj.weight"
        factor = torch.ones(24)
        for (at, neuron), scale in zip(NEURONS, scales, strict=True):
            if at == layer:
                one_hot = torch.zeros(24)
                one_hot[neuron] = 1
                factor = factor + one_hot * scale
        weights[name] = tiny.stock.get_parameter(name).detach() * factor
    keywords = {
        "input_ids": tokens,
        "pixel_values": inputs["pixel_values"],
        "attention_mask": torch.ones_like(tokens),
    }
    logits = functional_call(tiny.stock, weights, (), keywords).logits[0]
    return logits[-len(ids) - 1 : -1], ids


def loss_by_hand(tiny, evaluator, examples, scales) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and KL(unsteered || steered), means over all target tokens of the batch."""
    losses, divergences = [], []
    for example in examples:
        steered, ids = scaled_logits(tiny, evaluator, example, scales)
        plain, _ = scaled_logits(tiny, evaluator, example, torch.zeros(len(NEURONS)))
        for place, token in enumerate(ids):
            q = steered[place].softmax(-1)
            p = plain[place].detach().softmax(-1)
            losses.append(-q[token].log())
            divergences.append((p * (p / q).log()).sum())
    return torch.stack(losses).mean(), torch.stack(divergences).mean()

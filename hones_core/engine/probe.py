"""A few random tokens, and what the stock model makes of them, layer by layer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hones_core.engine.plain import Forced, force
from hones_core.engine.segments import Tree, grow
from hones_core.models.adapter import Adapter, Batch, counted_positions

PROMPT_LENGTHS = (9, 6)
SEED = 0


@dataclass(frozen=True)
class Example:
    """Two left-padded prompts of random tokens, and two answers that begin alike behind each.

    forced: every prompt with every answer, row 2 b + i for answer i of prompt b.
    """

    batch: Batch
    trees: list[Tree]
    forced: Forced


@dataclass
class Seen:
    """What one layer of the stock model took and gave, on its device: [B, T, ...]."""

    hidden: Tensor = field(init=False)
    heads: Tensor = field(init=False)
    middle: Tensor = field(init=False)
    z: Tensor = field(init=False)
    ffn: Tensor = field(init=False)
    output: Tensor = field(init=False)


def random_example(adapter: Adapter) -> Example:
    """Tokens by a fixed seed; the image's placeholder is not among them."""
    generator = torch.Generator().manual_seed(SEED)
    embedding = adapter.model.get_input_embeddings().weight
    rows, width = len(PROMPT_LENGTHS), max(PROMPT_LENGTHS)
    n_tokens = min(len(embedding), len(adapter.unembedding))
    ids = torch.randint(n_tokens, (rows, width + 4), generator=generator)
    ids[ids == adapter.image_token] = (adapter.image_token + 1) % n_tokens
    ids = ids.to(adapter.device)
    columns = torch.arange(width, device=adapter.device)
    lengths = torch.tensor(PROMPT_LENGTHS, device=adapter.device)[:, None]
    mask = (columns >= width - lengths).long()
    prompts = ids[:, :width]
    positions = counted_positions(mask).expand(adapter.position_axes, -1, -1)
    batch = Batch(adapter.embed(prompts), mask, prompts, positions)
    answers = [[row[:3], [row[0], row[3]]] for row in ids[:, width:].tolist()]
    twice = torch.arange(rows, device=adapter.device).repeat_interleave(2)
    doubled = Batch(batch.embeddings[twice], mask[twice], prompts[twice], batch.positions[:, twice])
    forced = force(adapter, doubled, [answer for pair in answers for answer in pair])
    return Example(batch, [grow(pair) for pair in answers], forced)


def stock_run(adapter: Adapter, batch: Batch) -> tuple[list[Seen], Tensor, Tensor]:
    """The stock model, all of it: what each layer did, its logits and its final states."""
    with _watched(adapter) as layers:
        outputs = adapter.model(
            inputs_embeds=batch.embeddings,
            attention_mask=batch.attention_mask,
            position_ids=batch.positions.squeeze(0),
            use_cache=False,
        )
    final = adapter.hidden_states(batch)
    return layers, outputs.logits.float(), final


@contextmanager
def _watched(adapter: Adapter) -> Iterator[list[Seen]]:
    """Keep what every layer takes and gives during a stock run."""
    layers = [Seen() for _ in adapter.layers]
    with ExitStack() as stack:

        def take(module: torch.nn.Module, seen: Seen, name: str) -> None:
            hook = module.register_forward_pre_hook(
                lambda _module, args, kwargs: setattr(seen, name, _input(module, args, kwargs)),
                with_kwargs=True,
            )
            stack.callback(hook.remove)

        def give(module: torch.nn.Module, seen: Seen, name: str) -> None:
            hook = module.register_forward_hook(
                lambda _module, _args, output: setattr(seen, name, output)
            )
            stack.callback(hook.remove)

        for layer, seen in zip(adapter.layers, layers, strict=True):
            take(layer, seen, "hidden")
            take(layer.self_attn.o_proj, seen, "heads")
            take(layer.post_attention_layernorm, seen, "middle")
            take(layer.mlp.down_proj, seen, "z")
            give(layer.mlp, seen, "ffn")
            give(layer, seen, "output")
        yield layers


def _input(module: torch.nn.Module, args: tuple, kwargs: dict) -> Tensor:
    """What goes into a module; a layer of a split model is given it from the device before."""
    given = args[0] if args else kwargs["hidden_states"]
    return given.to(next(module.parameters()).device)

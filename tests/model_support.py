"""A tiny random LLaVA, instances, and slow, obvious transcriptions to compare any family with.

Everything here uses the stock classes only (such as `LlavaForConditionalGeneration`), one sample at
a time, without padding. `qwen_support` has the same of a tiny Qwen2.5-VL.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    ProcessorMixin,
)

from hones_core.engine.evaluate import Evaluator, Outcome, Prepared
from hones_core.engine.interventions import Intervention
from hones_core.models import Adapter, load_model
from hones_core.models.adapter import Batch
from hones_core.tasks.instances import Instance
from hones_core.toy.prompts import build_tokenizer

SIDE, PATCH = 16, 8
N_IMAGES = 6
QUESTIONS = (
    "What color is the star?",
    "Is there a sign?",
    "What is the shape on the left of the small zebra by the brown wall?",
)
CAPTIONS = (
    "a red star",
    "a green ring above two signs on the right of a black diamond and a brown box",
    "a pink moon near the sign",
    "an odd thing: xylophone",
    "two circles",
    "a golden wedge below a gray plate",
)


@dataclass(frozen=True)
class Tiny:
    """One tiny checkpoint: the code's adapter of it, and the stock classes.

    `processor` is the stock one, of any family.
    """

    folder: Path
    images: Path
    adapter: Adapter
    stock: PreTrainedModel
    processor: ProcessorMixin

    @property
    def layers(self):
        return self.stock.model.language_model.layers

    def evaluator(
        self, task: str, batch_size: int = 4, max_new_tokens: int = 6, **options
    ) -> Evaluator:
        return Evaluator(self.adapter, task, self.images, batch_size, max_new_tokens, **options)

    def inputs(self, image: str, text: str):
        """What the stock processor makes of one prompt."""
        picture = Image.open(self.images / image).convert("RGB")
        return self.processor(images=picture, text=text, return_tensors="pt")


def random_model(
    heads: int = 4, kv_heads: int = 4, layers: int = 2, neurons: int = 24, seed: int = 0
) -> LlavaForConditionalGeneration:
    """A model with ordinary random weights, large enough for every part to matter."""
    tokenizer = build_tokenizer()
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=neurons,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(SIDE // PATCH) ** 2,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config).float()
    randomise(model, seed)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model.eval()


@torch.no_grad()
def randomise(model: PreTrainedModel, seed: int) -> None:
    """Weights with a gain of 1.5, norms and biases around 1."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            parameter.copy_(1 + 0.1 * noise)
        else:
            parameter.copy_(noise * 1.5 * parameter[0].numel() ** -0.5)


def save(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Write a checkpoint in float32 with tokenizer and processor."""
    model.save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def draw_images(folder: Path) -> None:
    """Photographs of random pixels and different sizes: 0.png, 1.png, ..."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(N_IMAGES):
        pixels = generator.integers(0, 256, (16 + 3 * index, 20 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def make_tiny(folder: Path, **sizes: int) -> Tiny:
    """Save, and load in both ways, a random model of the given sizes."""
    torch.set_num_threads(1)
    save(random_model(**sizes), folder / "model")
    draw_images(folder / "images")
    return Tiny(
        folder / "model",
        folder / "images",
        load_model(str(folder / "model"), "llava", device="cpu"),
        LlavaForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32).eval(),
        LlavaProcessor.from_pretrained(folder / "model"),
    )


def instance(task: str, index: int, split: str = "discovery", **fields) -> Instance:
    defaults = {
        "question": "",
        "references": (),
        "candidates": (),
        "positive_index": -1,
    }
    return Instance(
        instance_id=f"{task}/{index}",
        task=task,
        split=split,
        image_id=index,
        image=f"{index % N_IMAGES}.png",
        **(defaults | fields),
    )


def make_instances(task: str, n: int = 3) -> list[Instance]:
    """Instances whose prompts and targets have different lengths."""
    makers = {"vqa": _vqa, "ocr": _ocr, "caption": _caption, "retrieval": _retrieval}
    return [makers[task](index) for index in range(n)]


def _vqa(index: int) -> Instance:
    answer = ("red", "no", "a very odd zebra")[index % 3]
    references = (answer,) * 6 + ("blue",) * 4
    return instance("vqa", index, question=QUESTIONS[index % 3], references=references)


def _ocr(index: int) -> Instance:
    return instance("ocr", index, references=(("K8", "EXIT NOW", "b")[index % 3],))


def _caption(index: int) -> Instance:
    references = tuple(CAPTIONS[(index + k) % len(CAPTIONS)] for k in range(5))
    return instance("caption", index, references=references)


def _retrieval(index: int) -> Instance:
    candidates = CAPTIONS[: (4, 6, 2)[index % 3]]
    return instance("retrieval", index, candidates=candidates, positive_index=index % 2)


def prompts(tiny: Tiny) -> list[tuple[str, str]]:
    """(image, text) of several prompts of different lengths, three of each task."""
    pairs = []
    for task in ("vqa", "ocr", "caption", "retrieval"):
        evaluator = tiny.evaluator(task)
        pairs += [(item.image, evaluator.text(item)) for item in make_instances(task)]
    return pairs


def pictures(tiny: Tiny, pairs: Sequence[tuple[str, str]]) -> list[Image.Image]:
    """The images of prompts."""
    return [Image.open(tiny.images / image).convert("RGB") for image, _ in pairs]


def encode(tiny: Tiny, pairs: Sequence[tuple[str, str]]) -> Batch:
    """The prompts as the adapter encodes them."""
    with torch.no_grad():
        return tiny.adapter.encode(pictures(tiny, pairs), [text for _, text in pairs])


# --- the stock model, one sample at a time -------------------------------------------------------


@contextmanager
def edited(tiny: Tiny, layer: int, place: str, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The stock model with the input of `o_proj` ("heads") or `down_proj` ("z") edited."""
    block = tiny.layers[layer]
    module = block.self_attn.o_proj if place == "heads" else block.mlp.down_proj
    handle = module.register_forward_pre_hook(lambda _, args: (edit(args[0].clone()),))
    try:
        yield
    finally:
        handle.remove()


def mean_of_others(x: Tensor, head: int, n_heads: int) -> Tensor:
    """The mean over the other heads of x [..., H * d_h], by plain slices: [..., d_h]."""
    width = x.shape[-1] // n_heads
    others = [x[..., k * width : (k + 1) * width] for k in range(n_heads) if k != head]
    return torch.stack(others).mean(0)


def head_edit(head: int, n_heads: int, start: int | None = None) -> Callable[[Tensor], Tensor]:
    """Mean-replace a head at all positions from `start` on (None: everywhere), batch of one."""

    def edit(x: Tensor) -> Tensor:
        width = x.shape[-1] // n_heads
        x[:, start:, head * width : (head + 1) * width] = mean_of_others(x, head, n_heads)[
            :, start:
        ]
        return x

    return edit


def stock_inputs(tiny: Tiny, image: str, text: str, answer: Sequence[int] = ()) -> dict:
    """What the stock forward takes for one prompt and some token ids behind it."""
    inputs = dict(tiny.inputs(image, text))
    ids = torch.cat([inputs["input_ids"], torch.tensor([list(answer)], dtype=torch.long)], 1)
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(1, len(answer))], 1)
    return inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def stock_logits(tiny: Tiny, image: str, text: str, answer: Sequence[int] = ()) -> Tensor:
    """Logits [T + A, V] of the plain forward of one prompt and some token ids behind it."""
    with torch.no_grad():
        return tiny.stock(**stock_inputs(tiny, image, text, answer)).logits[0]


def stock_tokens(tiny: Tiny, image: str, text: str, stop: list[int], n: int = 6) -> list[int]:
    """What stock `generate` answers to one prompt."""
    inputs = stock_inputs(tiny, image, text)
    with torch.no_grad():
        tokens = tiny.stock.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=n,
            eos_token_id=stop,
            pad_token_id=tiny.processor.tokenizer.pad_token_id,
        )
    return tokens[0, inputs["input_ids"].shape[1] :].tolist()


def stock_answer(tiny: Tiny, evaluator: Evaluator, item: Instance) -> str:
    """The text of `stock_tokens` for an instance's prompt."""
    tokenizer = tiny.processor.tokenizer
    tokens = stock_tokens(tiny, item.image, evaluator.text(item), [tokenizer.eos_token_id])
    return tokenizer.decode(tokens, skip_special_tokens=True).strip()


def outcomes_of(
    evaluator: Evaluator, prepared: Prepared, intervention: Intervention | None = None
) -> list[Outcome]:
    """Outcomes of a prepared chunk under one intervention, or of the unchanged model."""
    return evaluator.outcomes_under(prepared, {"": intervention})[""]


def ids_in_context(tiny: Tiny, text: str, answer: str) -> list[int]:
    """ids(prompt + answer) after the prompt's ids."""
    tokenizer = tiny.processor.tokenizer
    prompt = tokenizer(text)["input_ids"]
    between = "" if "<|im_start|>" in text else " "
    return tokenizer(text + between + answer)["input_ids"][len(prompt) :]


def stock_last_z(tiny: Tiny, image: str, text: str) -> Tensor:
    """z at the last prompt token of each layer, [L, m], recomputed from the layers' own weights."""
    values = []

    def record(module, args, output):
        x = args[0][0, -1]
        values.append(torch.nn.functional.silu(module.gate_proj(x)) * module.up_proj(x))

    handles = [layer.mlp.register_forward_hook(record) for layer in tiny.layers]
    with torch.no_grad():
        stock_logits(tiny, image, text)
    for handle in handles:
        handle.remove()
    return torch.stack(values)

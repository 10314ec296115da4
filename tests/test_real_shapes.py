"""Random models of the real 7B widths with one layer: a forward and a head against stock."""

from pathlib import Path

import pytest
import torch
from model_support import Tiny, edited, encode, head_edit, stock_logits
from model_support import build_tokenizer as build_llava_tokenizer
from PIL import Image
from qwen_support import StockProcessor, smart_size
from qwen_support import build_tokenizer as build_qwen_tokenizer
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from hones_core.engine.interventions import MeanReplaceHead, applied
from hones_core.models.llava import LlavaAdapter
from hones_core.models.qwen2_5_vl import Qwen2_5_VLAdapter

LEAST, MOST = 3136, 12845056  # pixels, as in Qwen2.5-VL's checkpoints
GIBIBYTES = 4  # that a test may need


def available() -> float:
    """Memory that is free for use, in GiB."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return float("inf")
    lines = dict(line.split(":") for line in path.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) / 2**20


pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(available() < GIBIBYTES, reason=f"needs {GIBIBYTES} GiB of memory"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """One photograph of random pixels, of an odd size."""
    folder = tmp_path_factory.mktemp("images")
    pixels = torch.randint(0, 256, (90, 143, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.numpy().astype("uint8")).save(folder / "0.png")
    return folder


@pytest.fixture
def qwen(images):
    """Qwen2.5-VL-7B with one decoder layer and two of its tower's, and a small vocabulary."""
    torch.manual_seed(0)
    tokenizer = build_qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 1,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [16, 24, 24],
        },
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "depth": 2,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "fullatt_block_indexes": [1],
        "out_hidden_size": 3584,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    processor = Qwen2VLImageProcessorPil(min_pixels=LEAST, max_pixels=MOST)
    adapter = Qwen2_5_VLAdapter(model, tokenizer, processor)
    stock = StockProcessor(processor, tokenizer, None, chat_template=tokenizer.chat_template)
    return Tiny(images, images, adapter, model, stock)


@pytest.fixture
def llava(images):
    """LLaVA-1.5-7B with one decoder layer and two of its tower's, and a small vocabulary.

    Images are half as wide as the real 336 pixels, for a quarter of the time.
    """
    torch.manual_seed(0)
    tokenizer = build_llava_tokenizer()
    tokenizer.model_max_length = 1024
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=1,
        num_attention_heads=32,
        rms_norm_eps=1e-5,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=2,
        num_attention_heads=16,
        image_size=168,
        patch_size=14,
        projection_dim=768,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=144,
    )
    model = LlavaForConditionalGeneration(config).eval()
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 168}, crop_size={"height": 168, "width": 168}
    )
    adapter = LlavaAdapter(model, tokenizer, processor)
    stock = LlavaProcessor(
        image_processor=processor,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return Tiny(images, images, adapter, model, stock)


def agrees_with_stock(model: Tiny, head: int) -> None:
    """Logits at every position, as they are and with a head replaced."""
    adapter, pair = model.adapter, ("0.png", model.adapter.prompt("What is it?"))
    batch = encode(model, [pair])

    def logits():
        with torch.no_grad():
            return adapter.logits(adapter.hidden_states(batch))[0]

    base = logits()
    torch.testing.assert_close(base, stock_logits(model, *pair), atol=1e-4, rtol=1e-4)
    with applied(adapter, MeanReplaceHead(0, head)):
        replaced = logits()
    with edited(model, 0, "heads", head_edit(head, adapter.n_heads)):
        torch.testing.assert_close(replaced, stock_logits(model, *pair), atol=1e-4, rtol=1e-4)
    assert (replaced - base)[-1].abs().max() > 1e-2


def test_qwen2_5_vl_7b(qwen):
    adapter = qwen.adapter
    assert (adapter.n_heads, adapter.head_dim, adapter.n_neurons) == (28, 128, 18944)
    assert adapter.layers[0].self_attn.k_proj.out_features == 4 * 128
    agrees_with_stock(qwen, 17)
    for height, width, tokens in [
        (336, 336, 144),
        (427, 640, 345),
        (37, 1000, 36),
        (501, 333, 216),
        (10, 10, 4),
    ]:
        inputs = adapter.inputs([Image.new("RGB", (width, height))], [adapter.prompt("What?")])
        rows, columns = smart_size(height, width, 28, LEAST, MOST)
        assert int(inputs["mm_token_type_ids"].sum()) == rows * columns == tokens


def test_llava_1_5_7b(llava):
    adapter = llava.adapter
    assert (adapter.n_heads, adapter.head_dim, adapter.n_neurons) == (32, 128, 11008)
    agrees_with_stock(llava, 21)
    for side, tokens in [(168, 144), (336, 576)]:
        adapter.model.config.vision_config.image_size = side
        inputs = adapter.inputs([Image.new("RGB", (640, 427))], [adapter.prompt("What?")])
        assert int((inputs["input_ids"] == adapter.image_token).sum()) == tokens

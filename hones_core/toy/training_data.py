"""Training examples: one image and all that is asked of it, packed into one sequence.

A pack is the image's prefix (`<s> USER: <image>…`) followed by segments, one a prompt with its
answer. A 4-D mask lets each segment see the prefix and itself, and its positions start again after
the prefix, so each segment's logits equal those of the prompt on its own: the image is read once
for about nine answers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hones_core.benchmark.overlays import draw_outline
from hones_core.toy.language import ask_question, facts_of, falsify, write_caption
from hones_core.toy.prompts import FastEncoder
from hones_core.toy.scenes import Scene, draw_scene, patch_labels, sample_scene, scene_rng

BOX_COLOUR, BOX_WIDTH = (0, 0, 255), 2  # as the workflow's toy configuration draws it
IGNORED = -100
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # CLIP's, as the processor's
_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True)
class Mix:
    """How often each task is asked of an image, and how much its answers weigh in the loss."""

    boxed: float = 0.9
    questions: int = 5
    candidates: int = 4
    yes: float = 0.4
    weights: tuple[tuple[str, float], ...] = (
        ("vqa", 2.5),
        ("ocr", 1.0),
        ("caption", 0.5),
        ("retrieval", 2.0),
    )


@dataclass(frozen=True)
class Segment:
    """One prompt and its answer: ids, length of the prompt, and which claims end where."""

    task: str
    ids: list[int]
    n_prompt: int
    weight: float
    claims: tuple[tuple[int, bool], ...] = ()


@dataclass(frozen=True)
class Pack:
    """One image's pixels (float32 [3, 64, 64], normalised), patch labels and segments."""

    pixels: np.ndarray
    labels: dict[str, np.ndarray]
    segments: list[Segment]


def _normalise(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image, np.float32) / 255
    return np.ascontiguousarray(((pixels - _MEAN) / _STD).transpose(2, 0, 1))


def _retrieval(
    rng: np.random.Generator, scene: Scene, encoder: FastEncoder, mix: Mix, weight: float
) -> Segment:
    facts = facts_of(scene)
    is_true = bool(rng.random() < mix.yes)
    sentence = write_caption(rng, facts if is_true else falsify(rng, facts))
    prompt = encoder.prompt("retrieval", sentence.text)
    present = set(facts.kinds)
    claims = tuple(
        # +1 for `Candidate:`; the number of plates is claimed by the plain fact
        (1 + index, sentence_claim in present)
        for index, sentence_claim in sentence.claims
        if sentence_claim is not None
    )
    answer = [encoder.ids["Yes" if is_true else "No"], encoder.eos]
    balance = 0.5 / (mix.yes if is_true else 1 - mix.yes)
    return Segment("retrieval", prompt + answer, len(prompt), weight * balance, claims)


def make_pack(rng: np.random.Generator, encoder: FastEncoder, mix: Mix) -> Pack:
    """Draw a scene and ask all four tasks of it (OCR only where a box is drawn)."""
    scene = sample_scene(rng)
    image, boxed, segments = draw_scene(scene), None, []
    weights = dict(mix.weights)

    def add(task: str, prompt: list[int], answer: list[int]) -> None:
        ids = prompt + answer + [encoder.eos]
        segments.append(Segment(task, ids, len(prompt), weights[task]))

    if rng.random() < mix.boxed:
        boxed = int(rng.integers(len(scene.plates)))
        plate = scene.plates[boxed]
        image = draw_outline(image, plate.box, BOX_COLOUR, BOX_WIDTH)
        add("ocr", encoder.prompt("ocr"), encoder.characters(plate.text))
    caption = write_caption(rng, facts_of(scene)).text
    add("caption", encoder.prompt("caption"), encoder.words(caption, leading_space=False))
    for _ in range(mix.questions):
        question = ask_question(rng, scene)
        answer = encoder.words(question.answer, leading_space=False)
        add("vqa", encoder.prompt("vqa", question.text), answer)
    for _ in range(mix.candidates):
        segments.append(_retrieval(rng, scene, encoder, mix, weights["retrieval"]))
    return Pack(_normalise(image), patch_labels(scene, boxed), segments)


@dataclass(frozen=True)
class Batch:
    """Packs as tensors. B packs, P prefix positions, T segment positions, S = P + T.

    pixels [B, 3, 64, 64]; ids, targets, weights, claims, tasks [B, T]; positions
    [A, B, S] on A axes; mask [B, 1, S, S] (True: may be seen); labels: name -> [B, 64].
    """

    pixels: Tensor
    labels: dict[str, Tensor]
    ids: Tensor
    targets: Tensor
    weights: Tensor
    claims: Tensor
    tasks: Tensor
    positions: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        labels = {name: label.to(device) for name, label in self.labels.items()}
        return Batch(labels=labels, **moved)


TASKS = ("vqa", "ocr", "caption", "retrieval")


def collate(packs: list[Pack], encoder: FastEncoder) -> Batch:
    """Lay the packs' segments side by side, padded to the longest pack."""
    prefix_positions = encoder.prefix_positions()
    n_prefix = prefix_positions.shape[1]
    text_start = prefix_positions[:, -1].max() + 1
    length = max(sum(len(segment.ids) for segment in pack.segments) for pack in packs)
    shape = (len(packs), length)
    ids = np.full(shape, encoder.pad)
    owner = np.full(shape, -1)
    targets, claims = np.full(shape, IGNORED), np.full(shape, IGNORED)
    tasks, weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    positions = np.zeros((len(prefix_positions), len(packs), n_prefix + length), np.int64)
    positions[:, :, :n_prefix] = prefix_positions[:, None]
    for row, pack in enumerate(packs):
        start = 0
        for number, segment in enumerate(pack.segments):
            stop = start + len(segment.ids)
            answer = slice(start + segment.n_prompt - 1, stop - 1)  # a position predicts the next
            ids[row, start:stop] = segment.ids
            owner[row, start:stop] = number
            targets[row, answer] = segment.ids[segment.n_prompt :]
            weights[row, answer] = segment.weight
            tasks[row, start:stop] = TASKS.index(segment.task)
            own = slice(n_prefix + start, n_prefix + stop)
            positions[:, row, own] = text_start + np.arange(stop - start)
            for index, is_true in segment.claims:
                claims[row, start + index] = int(is_true)
            start = stop
    same = owner[:, :, None] == owner[:, None, :]
    mask = np.zeros((len(packs), n_prefix + length, n_prefix + length), bool)
    mask[:, :, :n_prefix] = True
    mask[:, n_prefix:, n_prefix:] = same
    mask &= np.tri(n_prefix + length, dtype=bool)
    return Batch(
        pixels=torch.from_numpy(np.stack([pack.pixels for pack in packs])),
        labels={
            name: torch.from_numpy(np.stack([pack.labels[name] for pack in packs]))
            for name in packs[0].labels
        },
        ids=torch.from_numpy(ids),
        targets=torch.from_numpy(targets),
        weights=torch.from_numpy(weights),
        claims=torch.from_numpy(claims),
        tasks=torch.from_numpy(tasks),
        positions=torch.from_numpy(positions),
        mask=torch.from_numpy(mask)[:, None],
    )


def training_batch(seed: int, step: int, size: int, encoder: FastEncoder, mix: Mix) -> Batch:
    """Make batch number `step`; it depends on nothing else, so a resumed run sees the same."""
    packs = [
        make_pack(scene_rng("training", seed, step, index), encoder, mix) for index in range(size)
    ]
    return collate(packs, encoder)

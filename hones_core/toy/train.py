"""Trains a toy model from nothing: `python -m hones_core.toy.train --family llava --out DIR`.

Two stages. First the tower and the projector learn what each patch shows, in the space of the word
embeddings. Then everything learns to answer, over packs of one image and about nine prompts. A run
that was stopped goes on with `--resume` and sees the very batches that it would have seen.
"""

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from hones_core.atomic import written_atomically
from hones_core.toy.architecture import Architecture
from hones_core.toy.model import FAMILIES, WriteSeparation, build_model, save_checkpoint
from hones_core.toy.objectives import (
    Auxiliary,
    Taps,
    answer_loss,
    claim_loss,
    copy_loss,
    read_packs,
)
from hones_core.toy.prompts import FastEncoder
from hones_core.toy.training_data import IGNORED, Batch, Mix, training_batch

STATE_FILE = "training_state.safetensors"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the checkpoint, except the machine."""

    family: str = "llava"
    seed: int = 0
    seed_offset: int = 0  # other scenes than those of the recipe before
    architecture: Architecture = field(default_factory=Architecture)
    mix: Mix = field(default_factory=Mix)
    tower_steps: int = 600
    tower_batch: int = 32
    tower_rate: float = 3e-3
    steps: int = 1500
    batch: int = 8
    rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    patch_weight: float = 0.2
    claim_weight: float = 1.0
    claim_layer: int = 1
    copy_weight: float = 1.0  # falls to zero over the first two thirds of the steps
    sparsity: float = 15.0
    false_yes_weight: float = 10.0
    sparsity_from: float = 0.3  # share of the steps after which sparsity is asked for


_QWEN = Recipe(
    family="qwen2_5_vl",
    architecture=Architecture(kv_heads=4, tower_width=96, tower_heads=4, tower_neurons=256),
)
# Each family's recipes, of which a later one starts from the checkpoint of the one before. Qwen's
# first left retrieval at 0.33: it asks for more true and false captions in a second round.
RECIPES = {
    "llava": (Recipe(),),
    "qwen2_5_vl": (
        _QWEN,
        replace(
            _QWEN,
            tower_steps=0,
            rate=1.5e-3,
            sparsity_from=0.0,
            seed_offset=1,
            mix=Mix(
                candidates=7,
                weights=(("vqa", 2.5), ("ocr", 0.5), ("caption", 0.5), ("retrieval", 4.0)),
            ),
        ),
    ),
}


def _rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Progress:
    """Prints a line every few steps: step, loss, parts, rate, time left."""

    def __init__(self, stage: str, first: int, steps: int, every: int = 25):
        self.stage, self.first, self.steps, self.every = stage, first, steps, every
        self.begin, self.count = time.monotonic(), 0
        self.sums: dict[str, list[float]] = {}

    def add(self, step: int, rate: float, values: dict[str, float]) -> None:
        """Count one step's values and print their means when it is time."""
        self.count += 1
        for name, value in values.items():
            self.sums.setdefault(name, []).append(value)
        if (step + 1) % self.every and step + 1 != self.steps:
            return
        done = step + 1 - self.first
        left = (time.monotonic() - self.begin) / done * (self.steps - step - 1)
        means = " ".join(f"{k} {sum(v) / len(v):.3g}" for k, v in self.sums.items())
        print(
            f"{self.stage} {step + 1}/{self.steps} {means} rate {rate:.1e} "
            f"left {left / 60:.1f} min",
            flush=True,
        )
        self.sums = {}


class Trainer:
    """Model, throwaway heads and optimiser of one run, with the steps of both stages."""

    def __init__(self, recipe: Recipe, device: torch.device, start: Path | None = None):
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.encoder = FastEncoder(recipe.family)
        model: Any = build_model(recipe.family, recipe.architecture, recipe.seed)
        self.model = model.to(device).train()
        if start is not None:
            known = type(self.model).from_pretrained(start, dtype=torch.float32)
            self.model.load_state_dict(known.state_dict())
        self.separation = WriteSeparation(
            self.model, recipe.family, recipe.architecture.readout_width
        )
        self.auxiliary = Auxiliary(recipe.architecture.width, self.encoder).to(device)
        self.image_features = FAMILIES[recipe.family].image_features
        self.taps = Taps(self.model, recipe.claim_layer)
        self.stage, self.step = "tower", 0
        self.optimiser = self._new_optimiser()

    def _new_optimiser(self) -> torch.optim.AdamW:
        parameters = [*self.model.parameters(), *self.auxiliary.parameters()]
        matrices = [p for p in parameters if p.ndim >= 2]
        vectors = [p for p in parameters if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))

    def _batch(self, number: int, size: int) -> Batch:
        recipe = self.recipe
        batch = training_batch(
            recipe.seed + 1000 * recipe.seed_offset, number, size, self.encoder, recipe.mix
        )
        return batch.to(self.device)

    def _update(self, loss: torch.Tensor, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.separation.impose()

    def tower_step(self, step: int, rate: float) -> dict[str, float]:
        """One step of stage 1: name what the patches show."""
        batch = self._batch(step, self.recipe.tower_batch)
        features = self.image_features(self.model, batch.pixels)
        table = self.model.model.language_model.embed_tokens.weight
        loss, accuracy = self.auxiliary.patch_loss(features, table, batch.labels)
        self._update(loss, rate)
        return {"loss": loss.item(), **accuracy}

    def answer_step(self, step: int, rate: float) -> dict[str, float]:
        """One step of stage 2: answer, and keep seeing, judging and being sparse."""
        recipe = self.recipe
        batch = self._batch(recipe.tower_steps + step, recipe.batch)
        features = self.image_features(self.model, batch.pixels)
        hidden = read_packs(self.model, batch, features, self.encoder)
        loss, accuracy = answer_loss(self.model, batch, hidden)
        table = self.model.model.language_model.embed_tokens.weight
        patches, _ = self.auxiliary.patch_loss(features, table, batch.labels)
        claims, judged = claim_loss(self.auxiliary, batch, self.taps.middle)
        written = self.taps.written(self._positions(batch, batch.targets != IGNORED))
        yes, no = (self.model.lm_head.weight[self.encoder.ids[word]] for word in ("Yes", "No"))
        denied = self._positions(batch, batch.targets == self.encoder.ids["No"])
        false_yes = self.taps.false_yes(denied, yes - no)
        copied = copy_loss(self.model, batch, hidden)
        fade = max(0.0, 1 - 1.5 * step / recipe.steps)
        ramp = min(1.0, max(0.0, step / recipe.steps - recipe.sparsity_from) / 0.1)
        total = (
            loss
            + recipe.patch_weight * patches
            + recipe.claim_weight * claims
            + fade * recipe.copy_weight * copied
            + ramp * recipe.sparsity * written
            + recipe.false_yes_weight * false_yes
        )
        self._update(total, rate)
        return {
            "loss": loss.item(),
            **accuracy,
            "claims": judged,
            "copied": copied.item(),
            "written": written.item(),
            "false_yes": false_yes.item(),
        }

    def _positions(self, batch: Batch, chosen: torch.Tensor) -> torch.Tensor:
        """Widen a choice of segment positions [B, T] to all positions [B, S]."""
        where = torch.zeros(batch.positions.shape[1:], dtype=torch.bool, device=self.device)
        where[:, -chosen.shape[1] :] = chosen
        return where

    def run(self, stage: str, after: int, folder: Path) -> None:
        """Run one stage from the step reached, saving the state every so often."""
        recipe = self.recipe
        steps = recipe.tower_steps if stage == "tower" else recipe.steps
        peak = recipe.tower_rate if stage == "tower" else recipe.rate
        one = self.tower_step if stage == "tower" else self.answer_step
        progress = Progress(stage, self.step, steps)
        for step in range(self.step, steps):
            rate = _rate(step, steps, recipe.warmup, peak)
            progress.add(step, rate, one(step, rate))
            self.step = step + 1
            if self.step % after == 0:
                self.save_state(folder)

    def begin_answers(self) -> None:
        """Go over to stage 2 with a fresh optimiser."""
        self.stage, self.step = "answers", 0
        self.optimiser = self._new_optimiser()

    def save_state(self, folder: Path) -> None:
        """Keep all that a later run needs to go on."""
        progress = {"recipe": asdict(self.recipe), "stage": self.stage, "step": self.step}
        tensors = {
            f"{part}/{name}": value.contiguous()
            for part, values in self._tensors().items()
            for name, value in values.items()
        }
        with written_atomically(folder / STATE_FILE) as temporary:
            save_file(tensors, temporary, metadata={"progress": json.dumps(progress)})

    def load_state(self, folder: Path) -> None:
        """Go on where a stopped run of the same recipe was."""
        with safe_open(folder / STATE_FILE, "pt", device=str(self.device)) as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if json.dumps(progress["recipe"]) != json.dumps(asdict(self.recipe)):
            raise ValueError(
                f"{folder / STATE_FILE} was made with another recipe; remove it or train elsewhere"
            )
        if progress["stage"] == "answers":
            self.begin_answers()
        self.step = progress["step"]
        parts: dict[str, dict] = {"model": {}, "auxiliary": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, key = name.split("/", 1)
            parts[part][key] = value
        self.model.load_state_dict(parts["model"])
        self.auxiliary.load_state_dict(parts["auxiliary"])
        moments: dict[int, dict] = {}
        for key, value in parts["optimiser"].items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]  # the rate is set at every step
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def _tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """All tensors of the state: {part: {name: tensor}}."""
        moments = self.optimiser.state_dict()["state"]
        return {
            "model": self.model.state_dict(),
            "auxiliary": self.auxiliary.state_dict(),
            "optimiser": {
                f"{index}/{name}": value
                for index, values in moments.items()
                for name, value in values.items()
            },
        }


def train(
    out: str | Path,
    recipe: Recipe | None = None,
    device: str = "auto",
    resume: bool = False,
    start: Path | None = None,
) -> PreTrainedModel:
    """Train by a recipe and write the checkpoint to `out`; return the trained model.

    `start` is the folder of a checkpoint whose weights to begin with; else they are new.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(recipe or Recipe(), torch.device(device), start)
    if resume and (folder / STATE_FILE).exists():
        trainer.load_state(folder)
        print(f"going on at {trainer.stage} step {trainer.step}", flush=True)
    if trainer.stage == "tower":
        trainer.run("tower", 100, folder)
        trainer.begin_answers()
    trainer.run("answers", 100, folder)
    model = trainer.model.cpu().eval()
    save_checkpoint(model, trainer.recipe.family, folder)
    (folder / STATE_FILE).unlink(missing_ok=True)
    return model


def train_family(
    out: str | Path, family: str, seed: int = 0, device: str = "auto", resume: bool = False
) -> None:
    """Train by all of a family's recipes, one after the other; the last checkpoint goes to `out`.

    The others go to folders in it. With `resume`, recipes that were finished are not run again.
    """
    recipes, start = RECIPES[family], None
    for number, recipe in enumerate(recipes, start=1):
        folder = Path(out) if number == len(recipes) else Path(out) / f"recipe_{number}"
        if not (resume and (folder / "model.safetensors").exists()):
            train(folder, replace(recipe, seed=seed), device, resume, start)
        start = folder


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--family", choices=sorted(RECIPES), default="llava")
    parser.add_argument("--out", required=True, help="folder of the checkpoint")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with a stopped run")
    arguments = parser.parse_args()
    train_family(
        arguments.out, arguments.family, arguments.seed, arguments.device, arguments.resume
    )


if __name__ == "__main__":
    main()

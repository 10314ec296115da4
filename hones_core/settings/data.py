"""Sections of the configuration: which data, and the benchmark made of them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hones_core.settings.section import (
    ColourPart,
    FilePath,
    NotNegative,
    Positive,
    Section,
    Seed,
    Share,
)

OFFICIAL_FILES = {
    "captions": "annotations/captions_train2014.json",
    "coco_text": "annotations/cocotext.v2.json",
    "vqa_questions": "annotations/v2_OpenEnded_mscoco_train2014_questions.json",
    "vqa_annotations": "annotations/v2_mscoco_train2014_annotations.json",
}


class ToyScenes(Section):
    """The generated scenes that stand in for COCO."""

    n_images: Positive = Field(description="number of scenes to draw")
    seed: Seed = Field(description="seed of the scenes; never one used in training")


class Data(Section):
    """Where the official files are, or the toy scenes that are written in their place."""

    image_folder: FilePath = Field(description="folder of the images (train2014)")
    captions: FilePath = Field(description="captions_train2014.json")
    coco_text: FilePath = Field(description="cocotext.v2.json")
    vqa_questions: FilePath = Field(description="VQAv2 questions of train2014")
    vqa_annotations: FilePath = Field(description="VQAv2 annotations of train2014")
    toy_scenes: ToyScenes | None = Field(
        description="write generated scenes at these paths first; null: the files are yours"
    )

    @model_validator(mode="after")
    def _toy_files_have_their_official_names(self) -> "Data":
        if self.toy_scenes is None:
            return self
        folder = Path(self.image_folder).parent
        if folder.parts[:1] != ("results",) or ".." in folder.parts:
            raise ValueError(
                f"generated scenes would be written over {folder}: if these files are yours, set "
                "toy_scenes to null; if not, choose a folder under results/"
            )
        for key, name in OFFICIAL_FILES.items():
            wanted = folder / name
            if Path(getattr(self, key)) != wanted:
                raise ValueError(f"generated scenes are written as {wanted}: set {key} to that")
        return self


class Splits(Section):
    """Number of images in each split."""

    discovery: Positive = Field(description="images for head and neuron localization")
    development: Positive = Field(description="images for learning scales and choosing groups")
    test: Positive = Field(description="images for every reported figure")


class Retrieval(Section):
    """The image-to-text retrieval pools."""

    n_queries: Splits = Field(description="query images of each split")
    n_negatives: Positive = Field(description="hard negatives per query")
    pool_fraction: Share = Field(description="share of a split's images that give the pool")
    distinct_captions: bool = Field(
        description="whether a text that several images share is one candidate"
    )


class Outline(Section):
    """The blue box around the text to be read."""

    colour: tuple[ColourPart, ColourPart, ColourPart] = Field(description="RGB, 0 to 255")
    width_px: Positive = Field(description="line width in pixels")


class Benchmark(Section):
    """Which images and annotations make the four tasks (METHOD 1)."""

    seed: Seed = Field(description="seed of every random choice of the benchmark")
    splits: Splits = Field(description="sizes of the splits")
    question_selection: Literal["first", "seeded_random"] = Field(
        description="which of an image's questions is asked"
    )
    box_selection: Literal["largest", "first", "seeded_random"] = Field(
        description="which of an image's text boxes is read"
    )
    min_height_px: NotNegative = Field(description="lowest text box that may be chosen")
    outline: Outline = Field(description="the blue box")
    image_shards: Positive = Field(description="jobs that share the drawing of images")
    retrieval: Retrieval = Field(description="the retrieval pools")


class QuestionSet(Section):
    """GQA or TextVQA."""

    questions: FilePath = Field(description="the questions file with its answers")
    image_folder: FilePath = Field(description="folder of its images")
    n_images: Positive | None = Field(description="images to use; null: all")
    questions_per_image: Positive | None = Field(description="questions of an image; null: all")


class CaptionSet(Section):
    """Flickr30k, in any of the three forms of its captions."""

    captions: FilePath = Field(
        description="dataset_flickr30k.json, results.csv or flickr_annotations_30k.csv"
    )
    image_folder: FilePath = Field(description="folder of its images")
    split: Literal["train", "val", "test"] | None = Field(
        description="Karpathy's split to use; null: all images"
    )
    n_images: Positive | None = Field(description="images to use; null: all")
    n_queries: Positive = Field(description="query images of retrieval")
    n_negatives: Positive = Field(description="hard negatives per query")
    pool_fraction: Share = Field(description="share of the images that give the pool")


class OutOfDistribution(Section):
    """Other data sets on which neuron groups and scales are tried (METHOD 8, E.3)."""

    seed: Seed = Field(description="seed of the choice of images and of the divisions")
    tuning_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of a set's images on which scales may be learned"
    )
    repeats: Positive = Field(description="random divisions of a set")
    gqa: QuestionSet = Field(description="GQA, balanced questions")
    textvqa: QuestionSet = Field(description="TextVQA 0.5.1")
    flickr30k: CaptionSet = Field(description="Flickr30k")
    toy_scenes: ToyScenes | None = Field(
        description="write scenes of another kind at these paths first; null: the files are yours"
    )


class Download(Section):
    """Where `snakemake download_coco` puts the official files; nothing else uses it."""

    folder: FilePath = Field(description="folder that gets train2014/ and annotations/")

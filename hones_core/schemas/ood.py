"""Artifacts of the out-of-distribution sets: GQA, TextVQA, Flickr30k."""

from dataclasses import replace

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS, INSTANCES, RETRIEVAL_POOLS
from hones_core.schemas.benchmark_tables import RETRIEVAL_FALSE_NEGATIVES
from hones_core.schemas.heads import CLOSE_CALL, LAYER, PREDICTION, STATISTICS, UTILITY
from hones_core.schemas.neurons import NEURON

_ITEM = Column("item_id", "string", "", "question id, or for Flickr30k the image file")
_OOD_SET = Column("ood_set", "string", "", "gqa, textvqa, flickr30k_caption or flickr30k_retrieval")
_INSTANCE_ID = Column("instance_id", "string", "", "set/item id, such as gqa/<question id>")
_IMAGE_ID = Column("image_id", "int64", "", "place of the image among the file's, ordered by name")
_IMAGE = Column("image", "string", "", "image file, relative to the data set's folder")
_QUESTION = Column("question", "string", "", "question, or empty")
_REFERENCES = "ten answers (GQA: ten times its one) or captions"
_SPLIT = Column("split", "string", "", "ood, in the place of discovery, development and test")


def _columns(columns: tuple[Column, ...], *own: Column) -> tuple[Column, ...]:
    """`columns`, those of the same name as one of `own` in its words."""
    said = {column.name: column for column in own}
    return tuple(said.get(column.name, column) for column in columns)


OOD_ITEMS = Schema(
    name="ood_items",
    version=1,
    rule="build_ood_items",
    meaning="The complete items of an out-of-distribution data set.",
    key=("item_id",),
    columns=(
        _ITEM,
        _IMAGE_ID,
        _IMAGE,
        _QUESTION,
        Column("references", "list<string>", "", _REFERENCES),
        Column("chosen", "bool", "", "whether it is among the number of items asked for"),
    ),
)

OOD_EXCLUDED = Schema(
    name="ood_excluded",
    version=1,
    rule="build_ood_items",
    meaning="Items of an out-of-distribution data set that are not complete, each with one reason.",
    key=("item_id",),
    columns=(
        _ITEM,
        Column("reason", "string", "", "the first requirement that the item fails"),
        Column("detail", "string", "", "the record at fault, in words"),
    ),
)

OOD_CAPTION_EMBEDDINGS = replace(
    CAPTION_EMBEDDINGS,
    name="ood_caption_embeddings",
    rule="embed_ood_captions",
    meaning="Sentence embeddings of all distinct captions of the chosen Flickr30k images.",
)

OOD_RETRIEVAL_POOLS = replace(
    RETRIEVAL_POOLS,
    name="ood_retrieval_pools",
    rule="mine_ood_pools",
    meaning="Candidates of each Flickr30k query: its positive caption and the hardest negatives.",
    columns=_columns(RETRIEVAL_POOLS.columns, _IMAGE_ID, _SPLIT),
)

OOD_FALSE_NEGATIVES = replace(
    RETRIEVAL_FALSE_NEGATIVES,
    name="ood_false_negatives",
    rule="tabulate_ood_false_negatives",
    meaning="How many hard negatives of Flickr30k may be true of the query image after all.",
)

OOD_INSTANCES = replace(
    INSTANCES,
    name="ood_instances",
    rule="build_ood_instances",
    meaning="The instances of one out-of-distribution set, independent of any model.",
    columns=(
        _OOD_SET,
        *_columns(
            INSTANCES.columns,
            _INSTANCE_ID,
            Column("task", "string", "", "vqa, caption or retrieval: whose prompt and metric"),
            _SPLIT,
            _IMAGE_ID,
            _IMAGE,
            _QUESTION,
            Column("references", "list<string>", "", f"{_REFERENCES}; retrieval: none"),
        ),
    ),
)

OOD_SPLITS = Schema(
    name="ood_splits",
    version=1,
    rule="build_ood_splits",
    meaning="Repeated divisions of an out-of-distribution set, by image, into a part on which "
    "scales may be learned and a part that is scored.",
    key=("repeat", "instance_id"),
    columns=(
        _OOD_SET,
        Column("repeat", "int64", "", "number of the division, from 0"),
        _INSTANCE_ID,
        Column("part", "string", "", "tuning or test"),
    ),
)

OOD_PREDICTIONS = Schema(
    name="ood_predictions",
    version=1,
    rule="predict_ood",
    meaning="The unchanged model's prediction for every instance of an out-of-distribution set.",
    key=("instance_id",),
    columns=(
        _OOD_SET,
        _INSTANCE_ID,
        PREDICTION,
        UTILITY,
        Column("anls", "float64", "", "ANLS beside VQA accuracy; NaN but for textvqa", nan=True),
        STATISTICS,
        CLOSE_CALL,
    ),
)

OOD_GROUP_PREDICTIONS = Schema(
    name="ood_group_predictions",
    version=1,
    rule="predict_ood_groups",
    meaning="Predictions on an out-of-distribution set with each overlap group, found in "
    "distribution, or a random set of its size at zero.",
    key=("group", "trial", "instance_id"),
    columns=(
        _OOD_SET,
        Column("group", "string", "", "overlap group; empty: the unchanged model"),
        Column("trial", "int64", "", "-1: the group itself; from 0: random sets of the same size"),
        Column("n_neurons", "int64", "", "number of masked neurons"),
        _INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)

OOD_TUNED_SCALES = Schema(
    name="ood_tuned_scales",
    version=1,
    rule="learn_ood_scales",
    meaning="Scales learned anew on the tuning part of each division of a set, the bank fixed.",
    key=("method", "repeat", "layer", "neuron"),
    columns=(
        Column("method", "string", "", "hones_tuned, or random_tuned with the first random bank"),
        Column("repeat", "int64", "", "number of the division, from 0"),
        LAYER,
        NEURON,
        Column("scale", "float64", "", "s; z becomes (1 + s) z"),
    ),
)

OOD_STEERED_PREDICTIONS = Schema(
    name="ood_steered_predictions",
    version=1,
    rule="predict_ood_steered",
    meaning="Predictions of an out-of-distribution set under in-domain and tuned scales.",
    key=("method", "seed", "repeat", "instance_id"),
    columns=(
        _OOD_SET,
        Column(
            "method",
            "string",
            "",
            "base, hones_zero_shot, random_zero_shot, hones_tuned or random_tuned",
        ),
        Column("seed", "int64", "", "seed of a random bank, else 0"),
        Column(
            "repeat", "int64", "", "division whose scored part it is; -1: the whole set, not tuned"
        ),
        _INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)

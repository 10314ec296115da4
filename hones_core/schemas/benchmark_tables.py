"""Tables about the benchmark itself: what it was made of, how large its texts are, how hard its
negatives are, and whether its data are complete."""

from hones_core.artifacts import Column, Schema

_SPLIT = Column("split", "string", "", "discovery, development or test; usable: all usable images")

BENCHMARK_FUNNEL = Schema(
    name="benchmark_funnel",
    version=1,
    rule="tabulate_benchmark",
    meaning="How many images each source has, how many are left at each step, and why others are "
    "not.",
    key=("step",),
    columns=(
        Column("step", "int64", "", "place in the table"),
        Column("kind", "string", "", "source, remaining, excluded or split"),
        Column("what", "string", "", "the source, the step, the reason of exclusion or the split"),
        Column("n_images", "int64", "", "images"),
        Column("share", "float64", "percent", "of all images that any source mentions"),
    ),
)

BOX_SIZES = Schema(
    name="box_sizes",
    version=1,
    rule="tabulate_benchmark",
    meaning="Heights of the text boxes that are to be read, after clamping to the image.",
    key=("split",),
    columns=(
        _SPLIT,
        Column("n_boxes", "int64", "", "boxes, one an image"),
        Column("n_clamped", "int64", "", "boxes that reached outside their image"),
        Column("n_under_8_px", "int64", "", "boxes under 8 pixels high"),
        Column("under_8_px", "float64", "percent", "their share"),
        Column("n_under_12_px", "int64", "", "boxes under 12 pixels high"),
        Column("under_12_px", "float64", "percent", "their share"),
        Column("median_height", "float64", "pixel", "median height of the boxes"),
    ),
)

RETRIEVAL_FALSE_NEGATIVES = Schema(
    name="retrieval_false_negatives",
    version=1,
    rule="tabulate_false_negatives",
    meaning="How many hard negatives may be true of the query image after all (METHOD 1).",
    key=("split",),
    columns=(
        Column("split", "string", "", "discovery, development or test; ood for another data set"),
        Column("n_queries", "int64", "", "query images"),
        Column("n_negatives", "int64", "", "negatives of all queries"),
        Column("n_cosine_90", "int64", "", "negatives with a cosine of at least 0.90"),
        Column("cosine_90", "float64", "percent", "their share"),
        Column("n_cosine_95", "int64", "", "negatives with a cosine of at least 0.95"),
        Column("cosine_95", "float64", "percent", "their share"),
        Column(
            "n_closer_than_sibling",
            "int64",
            "",
            "negatives closer to the positive than the median of the image's other captions",
        ),
        Column("closer_than_sibling", "float64", "percent", "their share"),
        Column("distinct_images", "float64", "", "images among a query's negatives, mean"),
        Column("n_duplicates", "int64", "", "negatives with the text of another one of the query"),
        Column(
            "n_near_duplicates",
            "int64",
            "",
            "the same, and the positive counted, without regard to case and punctuation",
        ),
    ),
)

DATA_CHECK = Schema(
    name="data_check",
    version=1,
    rule="check_data",
    meaning="Whether the configured data are there and fit each other.",
    key=("row",),
    columns=(
        Column("row", "int64", "", "place in the table"),
        Column("data", "string", "", "the key of the configuration"),
        Column("check", "string", "", "what is looked at"),
        Column("expected", "string", "", "what should be found; empty if anything may be"),
        Column("found", "string", "", "what is found"),
        Column("status", "string", "", "ok, note (unlike the official file) or problem"),
    ),
)

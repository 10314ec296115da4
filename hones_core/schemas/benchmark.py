"""Artifacts of benchmark construction."""

from hones_core.artifacts import Column, Schema

IMAGE_ID = Column("image_id", "int64", "", "COCO image id")
TASK = Column("task", "string", "", "vqa, ocr, caption or retrieval")
SPLIT = Column("split", "string", "", "discovery, development or test")
INSTANCE_ID = Column("instance_id", "string", "", "task/image id; unique in the run")

RECORDS = Schema(
    name="records",
    version=1,
    rule="build_records",
    meaning="Images that have a complete annotation for every task, with the annotation chosen.",
    key=("image_id",),
    columns=(
        IMAGE_ID,
        Column("file_name", "string", "", "image file, relative to the image folder"),
        Column("width", "int64", "pixel", "image width by the annotation"),
        Column("height", "int64", "pixel", "image height by the annotation"),
        Column("question_id", "int64", "", "VQAv2 question id"),
        Column("question", "string", "", "VQAv2 question"),
        Column("question_type", "string", "", "VQAv2 question type"),
        Column("answer_type", "string", "", "VQAv2 answer type"),
        Column("answers", "list<string>", "", "the ten human answers"),
        Column("box_id", "int64", "", "COCO-Text annotation id"),
        Column("box_x", "float64", "pixel", "left edge of the text box, clamped to the image"),
        Column("box_y", "float64", "pixel", "top edge of the text box, clamped"),
        Column("box_w", "float64", "pixel", "width of the text box, clamped"),
        Column("box_h", "float64", "pixel", "height of the text box, clamped"),
        Column("box_clamped", "bool", "", "whether the annotated box reached outside the image"),
        Column("transcription", "string", "", "text inside the box, stripped"),
        Column("captions", "list<string>", "", "first five captions, white space normalised"),
    ),
)

EXCLUDED = Schema(
    name="excluded",
    version=2,
    rule="build_records",
    meaning="Images that are in some official file but not in the records, each with one reason.",
    key=("image_id",),
    columns=(
        IMAGE_ID,
        Column("file_name", "string", "", "image file, or empty if no file names it"),
        Column("reason", "string", "", "the first requirement that the image fails"),
        Column("detail", "string", "", "the record at fault, in words"),
        Column("in_captions", "bool", "", "whether the captions file declares the image"),
        Column("in_coco_text", "bool", "", "whether the COCO-Text file declares it"),
        Column("in_vqa", "bool", "", "whether a question is about it"),
    ),
)

SPLITS = Schema(
    name="splits",
    version=1,
    rule="build_splits",
    meaning="The split of each selected image; usable images beyond the sizes are 'unused'.",
    key=("image_id",),
    columns=(
        IMAGE_ID,
        Column("split", "string", "", "discovery, development, test or unused"),
        Column("position", "int64", "", "place in the seeded order of the images, from 0"),
    ),
)

OCR_IMAGES = Schema(
    name="ocr_images",
    version=1,
    rule="gather_ocr_images",
    meaning="The images with the blue outline around their text box, one row per written file.",
    key=("image_id",),
    columns=(
        IMAGE_ID,
        Column("file_name", "string", "", "file, relative to the folder of the OCR images"),
        Column("width", "int64", "pixel", "width, the photograph's own"),
        Column("height", "int64", "pixel", "height, the photograph's own"),
        Column("sha256", "string", "", "digest of the RGB pixels"),
    ),
)

TEXT_REGIONS = Schema(
    name="text_regions",
    version=1,
    rule="list_text_regions",
    meaning="Every COCO-Text region of the selected images, legible or not.",
    key=("box_id",),
    columns=(
        Column("box_id", "int64", "", "COCO-Text annotation id"),
        IMAGE_ID,
        Column("x", "float64", "pixel", "left edge, as annotated"),
        Column("y", "float64", "pixel", "top edge, as annotated"),
        Column("w", "float64", "pixel", "width, as annotated"),
        Column("h", "float64", "pixel", "height, as annotated"),
        Column("legible", "bool", "", "whether the text is legible by the annotation"),
    ),
)

TEXT_ERASED_IMAGES = Schema(
    name="text_erased_images",
    version=1,
    rule="gather_text_erased_images",
    meaning="The images with all their COCO-Text regions in the image's mean colour.",
    key=("image_id",),
    columns=(
        IMAGE_ID,
        Column("file_name", "string", "", "file, relative to the folder of the erased images"),
        Column("width", "int64", "pixel", "width, the photograph's own"),
        Column("height", "int64", "pixel", "height, the photograph's own"),
        Column("n_regions", "int64", "", "regions filled"),
        Column("n_outside", "int64", "", "regions without any part inside the image, not filled"),
        Column("erased_share", "float64", "", "share of the image's pixels that were filled"),
        Column("sha256", "string", "", "digest of the RGB pixels"),
    ),
)

CAPTION_EMBEDDINGS = Schema(
    name="caption_embeddings",
    version=1,
    rule="embed_captions",
    meaning="Sentence embeddings of all distinct captions of the selected images.",
    key=("caption",),
    columns=(
        Column("caption", "string", "", "caption text, white space normalised"),
        Column("embedding", "list<float32>", "", "unit-length all-MiniLM-L6-v2 embedding, 384"),
    ),
)

RETRIEVAL_POOLS = Schema(
    name="retrieval_pools",
    version=1,
    rule="mine_retrieval_pools",
    meaning="Candidates of each retrieval query: its positive caption and the hardest negatives.",
    key=("image_id", "candidate"),
    columns=(
        IMAGE_ID,
        Column(
            "candidate", "int64", "", "place among the candidates in their seeded order, from 0"
        ),
        SPLIT,
        Column("caption", "string", "", "candidate caption"),
        Column("is_positive", "bool", "", "whether it is the query image's own caption"),
        Column("caption_image_id", "int64", "", "image that the caption was written for"),
        Column("cosine", "float64", "", "similarity to the positive caption"),
    ),
)

INSTANCES = Schema(
    name="instances",
    version=1,
    rule="build_instances",
    meaning="The instances of one task, independent of any model.",
    key=("instance_id",),
    columns=(
        INSTANCE_ID,
        TASK,
        SPLIT,
        IMAGE_ID,
        Column("image", "string", "", "image file, relative to the folder of the task's images"),
        Column("question", "string", "", "VQA question, else empty"),
        Column("references", "list<string>", "", "ten answers, transcription, or five captions"),
        Column("candidates", "list<string>", "", "retrieval candidates, else empty"),
        Column("positive_index", "int64", "", "place of the positive candidate, else -1"),
    ),
)

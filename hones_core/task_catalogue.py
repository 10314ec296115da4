"""The tasks by name, in the order of all tables.

It imports nothing, so that the configuration can be checked without the library's packages; what a
task does is in `hones_core.tasks`.
"""

TASK_NAMES = (
    "vqa",
    "ocr",
    "caption",
    "retrieval",
)

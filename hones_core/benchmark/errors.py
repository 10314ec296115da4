"""What benchmark construction raises: every message names file, record and remedy."""

from pathlib import Path


class BenchmarkError(Exception):
    """The benchmark can't be built as asked, such as too few images for the splits."""


class AnnotationError(BenchmarkError):
    """An official annotation file that is missing, damaged or not in its documented layout."""

    def __init__(self, path: str | Path, record: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {record}: {problem}; {remedy}")


class ImageError(BenchmarkError):
    """An image file that is missing, unreadable or not the one that the annotations describe."""

    def __init__(self, folder: str | Path, file_name: str, problem: str, remedy: str) -> None:
        super().__init__(f"image {file_name!r} in {folder}: {problem}; {remedy}")

"""Fetch COCO train2014, its captions, COCO-Text and VQAv2; only on demand."""

import csv
import sys
from pathlib import Path

from hones_core.benchmark.download import Archive, download_all
from workflow_scripts.step import step

with step(snakemake):
    with Path(snakemake.input.archives).open(newline="", encoding="utf-8") as file:
        archives = [
            Archive(row["url"], row["checksum"], row["into"], tuple(row["keep"].split()))
            for row in csv.DictReader(file)
        ]
    folder = snakemake.params.cfg["folder"]
    download_all(archives, folder, lambda text: print(text, file=sys.stderr))

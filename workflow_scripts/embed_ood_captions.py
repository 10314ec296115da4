"""Sentence embeddings of all captions of the chosen Flickr30k images."""

from itertools import chain

from hones_core import artifacts
from hones_core.benchmark.caption_embeddings import embed_captions
from hones_core.benchmark.ood_instances import captions_by_image
from hones_core.schemas.ood import OOD_CAPTION_EMBEDDINGS, OOD_ITEMS
from workflow_scripts.step import provenance, step

with step(snakemake):
    captions = captions_by_image(artifacts.read(snakemake.input.ood_items, OOD_ITEMS))
    embeddings = embed_captions(chain.from_iterable(captions.values()), threads=snakemake.threads)
    artifacts.write(snakemake.output[0], embeddings, OOD_CAPTION_EMBEDDINGS, provenance(snakemake))

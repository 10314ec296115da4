"""One table that says whether this machine can run what is configured; stops if it cannot."""

import sys

import torch
from transformers.utils import logging

from hones_core.findings import failures, in_words
from hones_core.models.adapter import ModelError
from hones_core.preflight import preflight, table
from hones_core.schemas.preflight import PREFLIGHT
from hones_core.settings import load_settings
from hones_core.tables.plain import plain_markdown, write_plain_table
from workflow_scripts.step import provenance, step

with step(snakemake):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(snakemake.threads)
    findings = preflight(load_settings(snakemake.params.cfg))
    checked = table(findings)
    write_plain_table(checked, PREFLIGHT, snakemake.params.table, provenance(snakemake))
    print(plain_markdown(checked, PREFLIGHT), file=sys.stderr)
    failed = failures(findings)
    if failed:
        raise ModelError(f"{len(failed)} checks failed: {in_words(failed)}")

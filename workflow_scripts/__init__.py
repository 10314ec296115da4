"""One thin script per rule: unpack `snakemake`, call the library, write one artifact."""

"""HONES: which feed-forward neurons a vision-language model needs for a task.

The library behind the workflow. It knows nothing of Snakemake and can be used from a notebook.
Imports point one way: artifacts and settings <- benchmark, tasks <- models, engine <- analysis
<- tables and figures.
"""

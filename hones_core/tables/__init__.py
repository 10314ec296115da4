"""The result tables: long frames with bootstrap intervals and the paper's figures beside them.

A module a table computes it from the per-sample predictions; `render` and `plain` write them as
parquet, CSV and Markdown. Nothing is imported here, so that another table re-runs no step.
"""

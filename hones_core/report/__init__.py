"""One HTML page with everything a run found: opens from disk, loads nothing from a network."""

"""The declared schemas of all artifacts, one file per stage."""

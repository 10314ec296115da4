"""From the official annotation files to task instances (METHOD 1)."""

"""Measurements that are supervised by the answer's first token (METHOD 6), one file each."""

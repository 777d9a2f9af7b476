"""Measurements that anyone can repeat. Timings count as ratios within one run."""

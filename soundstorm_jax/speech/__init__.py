"""What a user holds: models loaded from weights, and what is asked of them.

`loading.py` loads, `layout.py` lays requests out in batches, `model.py` runs
them; `jobs.py` and `results.py` are for many requests, from files to files.
"""

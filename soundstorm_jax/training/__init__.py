"""The loop's parts, which know no system: see `task.py` and `system.py`."""

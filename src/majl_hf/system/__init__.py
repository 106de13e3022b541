"""Files, processes, memory and settings: nothing about music."""

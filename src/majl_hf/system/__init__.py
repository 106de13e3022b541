"""Files, processes, memory and settings; independent of audio."""

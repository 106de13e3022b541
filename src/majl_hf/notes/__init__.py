"""From sung notes to a transcription: tempo, quantising, lyrics."""

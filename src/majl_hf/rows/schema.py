"""One schema for every corpus: what a row of a `datasets.Dataset` contains, and how it becomes a `Track` and back.

A row is one recording. Which columns are filled depends on what is known of it (`label_kind`); the others are None.

    id                  str, `CORPUS/NAME`, unique over all corpora
    corpus              str, name of the corpus
    song, singer        str, what splits keep apart; the singer is empty where unknown
    label_kind          str, one of `LABEL_KINDS`:
                        full            vocals, accompaniment and the pitch of the vocals
                        separation      vocals and accompaniment
                        pitch           mixture and the pitch of its vocals
                        vocals          solo voice, with or without pitch
                        accompaniment   music without voice
                        pseudo          what is missing was added by a model
    duration_s          float64, seconds
    sampling_rate       int32, Hz, of all audio columns
    mixture, vocals, accompaniment
                        FLAC file, `{"bytes", "path"}`; the mixture is left out if it is the sum of the other two
    f0_hz               float32 per frame, Hz, 0 = unvoiced; frame k is centred at f0_offset_s + k * f0_hop_s
    f0_hop_s, f0_offset_s
                        float64, seconds; those of the corpus, which are never resampled
    f0_octave_reliable  bool, False where a frame's pitch may be octaves off
    pitch_confidence    float32 per frame of f0_hz, in [0, 1]; None means 1 everywhere
    vocals_confidence   float32 per frame of f0_hz, or a single value, in [0, 1]: how far the vocals are trusted; None
                        means 1
    notes               {onset_s, offset_s: float64 seconds; midi: float32 semitones} per note, in order of onset
    licence             str, SPDX identifier where there is one
    provenance          str, where the recording comes from and what was done to it
"""

from __future__ import annotations

from datasets import Audio, Features, List, Value

_AUDIO = Audio(decode=False)  # decoded by this package: torchcodec is not needed, and only what is used is decoded

ROW_FEATURES = Features(
    {
        "id": Value("string"),
        "corpus": Value("string"),
        "song": Value("string"),
        "singer": Value("string"),
        "label_kind": Value("string"),
        "duration_s": Value("float64"),
        "sampling_rate": Value("int32"),
        "mixture": _AUDIO,
        "vocals": _AUDIO,
        "accompaniment": _AUDIO,
        "f0_hz": List(Value("float32")),
        "f0_hop_s": Value("float64"),
        "f0_offset_s": Value("float64"),
        "f0_octave_reliable": Value("bool"),
        "pitch_confidence": List(Value("float32")),
        "vocals_confidence": List(Value("float32")),
        "notes": List({"onset_s": Value("float64"), "offset_s": Value("float64"), "midi": Value("float32")}),
        "licence": Value("string"),
        "provenance": Value("string"),
    }
)
AUDIO_COLUMNS = ("mixture", "vocals", "accompaniment")
# A combined corpus has one more column: how often a row is drawn, see `sampling`.
SAMPLING_WEIGHT = "sampling_weight"
COMBINED_FEATURES = Features({**ROW_FEATURES, SAMPLING_WEIGHT: Value("float32")})

// Names of notes and times, as people read them.

const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

/** A frequency in Hz as a MIDI number with fractions: 69 is A4 at 440 Hz. */
export const hzToMidi = (hz) => 69 + 12 * Math.log2(hz / 440);

/** Name of the nearest note, such as `C♯4`. */
export function noteName(midi) {
  const nearest = Math.round(midi);
  return `${NAMES[((nearest % 12) + 12) % 12]}${Math.floor(nearest / 12) - 1}`;
}

/** Nearest note and the deviation from it, such as `A4 −12 ct`. */
export function noteAndCents(hz) {
  const midi = hzToMidi(hz), cents = Math.round(100 * (midi - Math.round(midi)));
  return `${noteName(midi)} ${cents < 0 ? "−" : "+"}${Math.abs(cents)} ct`;
}

/** Seconds as minutes and seconds, such as `3:05`. */
export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

// Plays stems together. All sources start on the same sample of one AudioContext, so they cannot drift apart.

const LEAD_S = 0.05; // from a call of play() to the first sample
const FADE_S = 0.015; // of changes of a level

/** Events: `play`, `pause` and `seek`. */
export class Player extends EventTarget {
  /** `tracks` maps names to AudioBuffers of the same length. */
  constructor(tracks) {
    super();
    this.tracks = tracks;
    this.levels = Object.fromEntries(Object.keys(tracks).map((name) => [name, 1]));
    const [{ sampleRate, duration }] = Object.values(tracks);
    this.duration = duration;
    this.sampleRate = sampleRate;
    this.position = 0; // in seconds, while it is paused
    this.run = null; // since the last start: context time, sources, gains
  }

  get paused() {
    return this.run === null;
  }

  get currentTime() {
    if (this.paused) return this.position;
    return Math.min(this.duration, this.position + Math.max(0, this.context.currentTime - this.run.begin));
  }

  set currentTime(time) {
    const wasPlaying = !this.paused;
    this.stop();
    this.position = Math.min(Math.max(time, 0), this.duration);
    if (wasPlaying) this.start();
    this.dispatchEvent(new Event("seek"));
  }

  async play() {
    if (!this.paused) return;
    this.context ??= new AudioContext({ sampleRate: this.sampleRate });
    await this.context.resume();
    if (this.position >= this.duration) this.position = 0;
    this.start();
    this.dispatchEvent(new Event("play"));
  }

  pause() {
    if (this.paused) return;
    this.position = this.currentTime;
    this.stop();
    this.dispatchEvent(new Event("pause"));
  }

  /** The level of a track as a factor, from 0 on. */
  setLevel(name, level) {
    this.levels[name] = level;
    this.run?.gains[name].gain.setTargetAtTime(level, this.context.currentTime, FADE_S);
  }

  /** It will not be used again. */
  close() {
    this.stop();
    this.context?.close();
    this.tracks = {};
  }

  start() {
    const begin = this.context.currentTime + LEAD_S, gains = {}, sources = [];
    for (const [name, buffer] of Object.entries(this.tracks)) {
      gains[name] = new GainNode(this.context, { gain: this.levels[name] });
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(gains[name]).connect(this.context.destination);
      source.start(begin, this.position);
      sources.push(source);
    }
    sources[0].onended = () => this.pause();
    this.run = { begin, gains, sources };
  }

  stop() {
    if (this.paused) return;
    this.run.sources[0].onended = null;
    for (const source of this.run.sources) source.stop();
    this.run = null;
  }
}

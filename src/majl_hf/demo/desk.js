// <majl-desk>: plays voice, accompaniment and melody together, each with a fader, mute and solo.
//
// The server sends blocks of all channels (`desk.py`). A block is one AudioBuffer and so one source: its tracks start
// on the same sample, and every block starts where the last one ends, counted in samples. Some seconds of them are in
// memory, whatever the length of the song. To the rest of the page the desk is like an <audio>: `currentTime`,
// `duration`, `paused`, `play()`, `pause()` and the events play, pause, seeked, timeupdate and ended.
//
// <majl-notes> says which notes the melody has; when others are decided on, the desk goes on with those. Gradio changes
// elements in place, so a change of the attribute `data-src` means that there is another song.
(() => {
  const AHEAD_S = 8, LEAD_S = 0.08, FADE_S = 0.015; // scheduled in advance; before a start; at each start and stop
  const HEADROOM = 0.7; // the song at full scale and the melody stay below full scale with all faders at 0 dB
  const ICONS = { play: "M8 5v14l11-7z", pause: "M7 5h4v14H7zM13 5h4v14h-4z" };
  const FULL_SCALE = 32767;

  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

  class Desk extends HTMLElement {
    static observedAttributes = ["data-src"];

    connectedCallback() {
      this.tracks ?? this.connectControls();
      this.load();
    }

    disconnectedCallback() {
      this.close();
    }

    attributeChangedCallback() {
      if (this.tracks) queueMicrotask(() => this.load()); // once the other attributes and the children have changed
    }

    // Begin with the song that the attributes describe.
    load() {
      this.close();
      for (const name of ["rate", "samples", "block", "channels"]) this[name] = Number(this.dataset[name]);
      this.position = 0; // in samples; while it plays, `run` counts
      this.query = document.querySelector("majl-notes")?.dataset.query ?? "";
      this.icon = null;
      this.show();
    }

    close() {
      this.pause();
      this.context?.close();
      this.context = null;
    }

    connectControls() {
      this.run = null; // since the last start
      this.button = this.querySelector(".majl-play");
      this.slider = this.querySelector(".majl-seek");
      this.clock = this.querySelector(".majl-clock");
      this.trouble = this.querySelector(".majl-trouble");
      this.tracks = [...this.querySelectorAll(".majl-strip")].map((strip) => this.connectStrip(strip));
      this.button.addEventListener("click", () => (this.paused ? this.play() : this.pause()));
      this.slider.addEventListener("input", () => { this.seeking = true; this.showTime(Number(this.slider.value)); });
      this.slider.addEventListener("change", () => {
        this.seeking = false;
        this.currentTime = Number(this.slider.value);
      });
    }

    connectStrip(strip) {
      const part = (name) => strip.querySelector(`.majl-${name}`);
      const [mute, solo, fader, level] = ["mute", "solo", "fader", "level"].map(part);
      const track = { name: part("track").textContent, strip, mute, solo, fader, level, gain: null };
      for (const button of [mute, solo]) {
        button.addEventListener("click", () => {
          button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
          this.mix();
        });
      }
      fader.addEventListener("input", () => this.mix());
      return track;
    }

    get paused() { return this.run === null; }
    get duration() { return this.samples / this.rate; }

    get currentTime() {
      const { run } = this;
      if (run === null || run.start === null) return this.position / this.rate;
      const played = run.from + (this.context.currentTime - run.start) * this.rate;
      return Math.min(Math.max(run.from, played), run.until) / this.rate; // it waits for a block that is late
    }

    set currentTime(seconds) {
      const wasPlaying = !this.paused;
      this.halt();
      this.position = Math.round(Math.min(Math.max(0, seconds), this.duration) * this.rate);
      if (wasPlaying) this.begin();
      this.show();
      this.tell("seeked");
    }

    // Gain of each track at this moment, by its name.
    get gains() {
      const gain = (track) => (this.context ? track.gain.gain.value : this.wanted(track));
      return Object.fromEntries(this.tracks.map((track) => [track.name, gain(track)]));
    }

    play() {
      if (!this.paused) return;
      if (this.position >= this.samples) this.position = 0;
      this.trouble.hidden = true;
      this.begin();
      this.show();
      this.tell("play");
    }

    pause() {
      if (this.paused) return;
      this.halt();
      this.show();
      this.tell("pause");
    }

    // Play with other notes from here on.
    useNotes(query) {
      if (!this.tracks || query === this.query) return;
      this.query = query;
      if (!this.paused) this.currentTime = this.currentTime;
    }

    begin() {
      this.context ??= this.makeContext();
      this.context.resume();
      const gain = new GainNode(this.context, { channelInterpretation: "discrete" });
      gain.connect(this.splitter);
      // It plays the samples [from, until); `start` is the time of the first of them, once a block is there.
      const run = { from: this.position, until: this.position, start: null, gain, sources: new Set(), filling: false };
      run.timer = setInterval(() => this.tick(run), 100);
      this.run = run;
      this.fill(run);
    }

    halt() {
      const { run, context } = this;
      if (run === null) return;
      this.position = Math.round(this.currentTime * this.rate);
      this.run = null;
      clearInterval(run.timer);
      run.gain.gain.cancelScheduledValues(context.currentTime);
      run.gain.gain.setTargetAtTime(0, context.currentTime, FADE_S / 3);
      for (const source of run.sources) source.stop(context.currentTime + 2 * FADE_S);
      setTimeout(() => run.gain.disconnect(), 1000);
    }

    tick(run) {
      if (run !== this.run) return;
      if (this.currentTime >= this.duration - 1e-6) {
        this.pause();
        this.tell("ended");
        return;
      }
      this.fill(run);
      this.show();
      this.tell("timeupdate");
    }

    async fill(run) {
      if (run.filling) return;
      run.filling = true;
      try {
        while (run === this.run && run.until < this.samples && run.until / this.rate - this.currentTime < AHEAD_S) {
          const number = Math.floor(run.until / this.block);
          const buffer = await this.fetchBlock(number);
          if (run === this.run) this.schedule(run, buffer, number);
        }
      } catch (error) {
        if (run !== this.run) return;
        this.pause();
        this.trouble.textContent = error.message;
        this.trouble.hidden = false;
      } finally {
        run.filling = false;
      }
    }

    async fetchBlock(number) {
      const url = new URL(this.dataset.src.replace("NUMBER", number), document.baseURI);
      for (const [name, value] of new URLSearchParams(this.query)) url.searchParams.set(name, value);
      const answer = await fetch(url).catch(() => null);
      if (!answer) throw new Error("The server cannot be reached. Press play to try again.");
      if (!answer.ok) throw new Error(await answer.text());
      const values = new Int16Array(await answer.arrayBuffer());
      const channels = 2 * this.channels + 1, length = values.length / channels;
      const buffer = this.context.createBuffer(channels, length, this.rate);
      for (let channel = 0; channel < channels; channel++) {
        const samples = buffer.getChannelData(channel);
        for (let index = 0; index < length; index++) samples[index] = values[index * channels + channel] / FULL_SCALE;
      }
      return buffer;
    }

    schedule(run, buffer, number) {
      const { context, rate } = this, now = context.currentTime;
      const onSample = (time) => Math.ceil(time * context.sampleRate) / context.sampleRate;
      if (run.start === null) {
        run.start = onSample(now + LEAD_S);
        run.gain.gain.setValueAtTime(0, run.start);
        run.gain.gain.linearRampToValueAtTime(1, run.start + FADE_S);
      }
      let when = run.start + (run.until - run.from) / rate;
      if (when < now) { // the block is late: all that follows is as late as it is
        run.start += onSample(now + LEAD_S - when);
        when = run.start + (run.until - run.from) / rate;
      }
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.connect(run.gain);
      source.onended = () => run.sources.delete(source);
      run.sources.add(source);
      const offset = run.until - number * this.block;
      source.start(when, offset / rate);
      run.until += buffer.length - offset;
    }

    // Each source -> the run's fade -> its channels apart -> those of each track -> its gain -> the listener.
    makeContext() {
      let context;
      try {
        context = new AudioContext({ sampleRate: this.rate }); // nothing is resampled between blocks
      } catch {
        context = new AudioContext(); // the browser does not have this rate
      }
      const numOutputs = 2 * this.channels + 1;
      this.splitter = new ChannelSplitterNode(context, { numberOfOutputs: numOutputs });
      const master = new GainNode(context, { gain: HEADROOM });
      master.connect(context.destination);
      this.tracks.forEach((track, index) => {
        const first = index * this.channels, stop = Math.min(first + this.channels, numOutputs);
        const merger = new ChannelMergerNode(context, { numberOfInputs: stop - first });
        for (let channel = first; channel < stop; channel++) this.splitter.connect(merger, channel, channel - first);
        track.gain = new GainNode(context, { gain: this.wanted(track) });
        merger.connect(track.gain).connect(master);
      });
      return context;
    }

    // Gain of a track by its controls: where any track is solo, those that are not are silent; else the muted ones.
    wanted({ mute, solo, fader }) {
      const pressed = (button) => button.getAttribute("aria-pressed") === "true";
      const soloed = this.tracks?.some((track) => pressed(track.solo));
      if (soloed ? !pressed(solo) : pressed(mute)) return 0;
      return Number(fader.value) <= Number(fader.min) ? 0 : 10 ** (Number(fader.value) / 20);
    }

    mix() {
      for (const track of this.context ? this.tracks : []) {
        track.gain.gain.setTargetAtTime(this.wanted(track), this.context.currentTime, 0.01);
      }
      this.show();
    }

    show() {
      this.button.setAttribute("aria-label", this.paused ? "Play" : "Pause");
      const icon = this.paused ? ICONS.play : ICONS.pause;
      const svg = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${icon}"/></svg>`;
      if (this.icon !== icon) this.button.innerHTML = svg;
      this.icon = icon;
      for (const track of this.tracks) {
        const { strip, fader, level } = track;
        const text = Number(fader.value) <= Number(fader.min) ? "off" : `${fader.value.replace("-", "−")} dB`;
        level.textContent = text;
        fader.setAttribute("aria-valuetext", text);
        strip.classList.toggle("majl-silent", this.wanted(track) === 0);
      }
      if (this.seeking) return;
      this.slider.value = this.currentTime;
      this.showTime(this.currentTime);
    }

    showTime(seconds) {
      this.clock.textContent = `${clock(seconds)} / ${clock(this.duration)}`;
      this.slider.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(this.duration)}`);
    }

    tell(event) { this.dispatchEvent(new Event(event)); }
  }

  class Notes extends HTMLElement {
    static observedAttributes = ["data-query"];

    attributeChangedCallback() {
      document.querySelector("majl-desk")?.useNotes(this.dataset.query);
    }
  }

  customElements.define("majl-desk", Desk);
  customElements.define("majl-notes", Notes);
})();

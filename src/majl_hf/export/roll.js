// <majl-roll>: notes as bars over a spectrogram, with the pitch curve, and the voicing below.
//
// Its data is the JSON in the hidden element inside it (`roll_html`), and it draws again when that changes. Drag over
// it to zoom, click to go there, or use its buttons; on a touch screen, drag to move. It follows the page's player: an
// `audio.majl-player` or anything with `currentTime`, `paused` and the events of one, such as the demo's <majl-desk>.
(() => {
  const PLAYER = "majl-desk, audio.majl-player";
  const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
  // Notes with names at the pitch axis, by the height of a semitone above which they have room.
  const NAMED = [[13, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]], [11, [0, 2, 4, 5, 7, 9, 11]], [4, [0, 4, 7]], [0, [0]]];
  const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
  const LEFT = 40, BOTTOM = 22, LANE = 44, GAP = 18; // pixels: note names, times, voicing and its title
  const BACKGROUND = "#0b0714", INK = "#f2eefb", CURVE = "#35e0ff", NOTE = [255, 157, 60], LINE = "255, 255, 255";
  const MAX_GLIDE_CENTS = 250, MIN_VIEW_S = 0.5;
  const TOOLS = {
    "Earlier": "←", "Later": "→", "Zoom in": "+", "Zoom out": "−", "Whole song": "Whole song",
  };

  const STYLE = `
    :host { display: block; position: relative; border-radius: 10px; background: #0b0714; color: #f2eefb;
      padding: 0.4rem; box-sizing: border-box; font: 14px system-ui, sans-serif; }
    [hidden] { display: none !important; }
    .view { position: relative; height: 440px; overflow: hidden; cursor: crosshair; touch-action: pan-y;
      user-select: none; -webkit-user-select: none; }
    canvas { display: block; width: 100%; height: 100%; }
    .playhead { position: absolute; top: 0; width: 2px; background: #fff; box-shadow: 0 0 4px #000;
      pointer-events: none; }
    .selection { position: absolute; top: 0; background: rgba(255, 255, 255, 0.2); pointer-events: none; }
    .tip { position: absolute; padding: 0.25rem 0.5rem; border-radius: 6px; background: #fff; color: #10081f;
      font-size: 13px; line-height: 1.35; pointer-events: none; white-space: pre; }
    .tools { display: flex; flex-wrap: wrap; gap: 0.4rem; padding-top: 0.4rem; }
    button { min-width: 2.5rem; min-height: 2.25rem; padding: 0 0.7rem; border: 1px solid #5b4a80;
      border-radius: 8px; background: #1d1333; color: #f2eefb; font: inherit; font-size: 0.9rem; cursor: pointer; }
    button:hover { background: #3a2766; }
    button:focus-visible { outline: 3px solid #b79bff; outline-offset: 2px; }
    @media (max-width: 640px) { .view { height: 340px; } }
  `;

  const noteName = (midi) => NAMES[((Math.round(midi) % 12) + 12) % 12] + (Math.floor(Math.round(midi) / 12) - 1);
  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
  function withCents(midi) {
    const cents = Math.round(100 * (midi - Math.round(midi)));
    return `${noteName(midi)} ${cents < 0 ? "−" : "+"}${Math.abs(cents)} ct`;
  }
  function element(parent, tag, attributes) {
    const made = Object.assign(document.createElement(tag), attributes);
    parent.append(made);
    return made;
  }

  let lastView = null; // of the roll before: a new one of the same song shows the same part

  class Roll extends HTMLElement {
    connectedCallback() {
      if (!this.shadowRoot) this.build();
      this.listen();
      this.load();
    }

    disconnectedCallback() {
      this.stop.abort();
      this.resized.disconnect();
      this.changed.disconnect();
    }

    build() {
      const root = this.attachShadow({ mode: "open" });
      element(root, "style", { textContent: STYLE });
      this.view = element(root, "div", { className: "view" });
      this.canvas = element(this.view, "canvas", {});
      this.canvas.setAttribute("role", "img");
      this.head = element(this.view, "div", { className: "playhead", hidden: true });
      this.selection = element(this.view, "div", { className: "selection", hidden: true });
      this.tip = element(this.view, "div", { className: "tip", hidden: true });
      const tools = element(root, "div", { className: "tools" });
      tools.setAttribute("role", "group");
      tools.setAttribute("aria-label", "What is in view");
      for (const [name, text] of Object.entries(TOOLS)) {
        const button = element(tools, "button", { type: "button", textContent: text, title: name });
        button.setAttribute("aria-label", name);
        button.addEventListener("click", () => this.useTool(name));
      }
    }

    load() {
      this.data = JSON.parse(this.textContent);
      const { duration, song, notes, image } = this.data;
      this.range = lastView && lastView.song === song ? lastView.range : [0, duration];
      const label = `Piano roll: ${notes.length} notes and the sung pitch over ${clock(duration)} minutes`;
      this.canvas.setAttribute("aria-label", label);
      if (this.picture !== image) {
        this.picture = image;
        this.image = image ? Object.assign(new Image(), { onload: () => this.draw(), src: image }) : null;
      }
      this.draw();
    }

    listen() {
      this.stop = new AbortController();
      const { signal } = this.stop;
      const on = (target, event, handler, more) => target.addEventListener(event, handler, { signal, ...more });
      on(this.view, "pointerdown", (event) => this.press(event));
      on(this.view, "pointermove", (event) => this.move(event));
      on(this.view, "pointerup", (event) => this.release(event));
      on(this.view, "pointercancel", () => { this.pressed = null; this.selection.hidden = true; });
      on(this.view, "pointerleave", () => { this.tip.hidden = true; });
      on(this.view, "dblclick", () => this.show(0, this.data.duration));
      on(this.view, "wheel", (event) => this.wheel(event), { passive: false });
      for (const name of ["play", "seeked", "timeupdate"]) { // these events do not bubble
        on(document, name, (event) => { if (event.target.matches?.(PLAYER)) this.follow(); }, { capture: true });
      }
      this.resized = new ResizeObserver(() => this.draw());
      this.resized.observe(this.view);
      this.changed = new MutationObserver(() => this.load());
      this.changed.observe(this, { childList: true, characterData: true, subtree: true });
    }

    get player() { return document.querySelector(PLAYER); }
    get plotWidth() { return Math.max(1, this.view.clientWidth - LEFT); }
    get plotHeight() { return Math.max(1, this.view.clientHeight - BOTTOM - LANE - GAP); }
    x(time) { return LEFT + ((time - this.range[0]) / (this.range[1] - this.range[0])) * this.plotWidth; }
    y(midi) { return ((this.data.view[1] - midi) / (this.data.view[1] - this.data.view[0])) * this.plotHeight; }
    timeAt(x) { return this.range[0] + ((x - LEFT) / this.plotWidth) * (this.range[1] - this.range[0]); }
    xOf(event) { return event.clientX - this.view.getBoundingClientRect().left; }

    // Show a part of the song; it stays inside the song and at least half a second long.
    show(from, to) {
      const { duration, song } = this.data;
      const length = Math.min(duration, Math.max(MIN_VIEW_S, to - from));
      const begin = Math.min(Math.max(0, from), duration - length);
      this.range = [begin, begin + length];
      lastView = { song, range: this.range };
      this.draw();
    }

    zoom(factor, around = (this.range[0] + this.range[1]) / 2) {
      this.show(around - (around - this.range[0]) * factor, around + (this.range[1] - around) * factor);
    }

    shift(seconds) {
      const length = this.range[1] - this.range[0];
      const begin = Math.min(Math.max(0, this.range[0] + seconds), this.data.duration - length);
      this.show(begin, begin + length);
    }

    useTool(name) {
      const length = this.range[1] - this.range[0];
      if (name === "Earlier") this.shift(-length / 2);
      if (name === "Later") this.shift(length / 2);
      if (name === "Zoom in") this.zoom(0.5);
      if (name === "Zoom out") this.zoom(2);
      if (name === "Whole song") this.show(0, this.data.duration);
    }

    press(event) {
      if (event.button !== 0) return;
      this.pressed = { x: this.xOf(event), range: this.range };
      this.view.setPointerCapture(event.pointerId);
    }

    move(event) {
      const x = this.xOf(event);
      if (!this.pressed) return this.describe(x, event);
      if (event.pointerType === "touch") {
        const [from, to] = this.pressed.range;
        this.range = this.pressed.range;
        return this.shift(((this.pressed.x - x) / this.plotWidth) * (to - from));
      }
      const [low, high] = [Math.max(LEFT, Math.min(x, this.pressed.x)), Math.max(x, this.pressed.x)];
      const { style } = this.selection;
      [style.left, style.width, style.height] = [low, high - low, this.plotHeight].map((pixels) => `${pixels}px`);
      this.selection.hidden = high - low <= 4;
    }

    release(event) {
      if (!this.pressed) return;
      const [x, from] = [this.xOf(event), this.pressed.x];
      this.pressed = null;
      this.selection.hidden = true;
      if (Math.abs(x - from) <= 4) {
        const time = Math.min(Math.max(0, this.timeAt(x)), this.data.duration);
        if (x >= LEFT && this.player) this.player.currentTime = time;
        this.describe(x, event);
      } else if (event.pointerType !== "touch") {
        this.show(this.timeAt(Math.min(x, from)), this.timeAt(Math.max(x, from)));
      }
    }

    wheel(event) {
      if (event.ctrlKey) this.zoom(Math.exp(event.deltaY / 200), this.timeAt(this.xOf(event)));
      else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        this.shift(((event.deltaX || event.deltaY) / this.plotWidth) * (this.range[1] - this.range[0]));
      } else return; // the page scrolls
      event.preventDefault();
    }

    // What is at a time, beside the pointer.
    describe(x, event) {
      const { cents, voicing, hop, notes, duration } = this.data;
      const time = this.timeAt(x), frame = Math.round(time / hop);
      if (x < LEFT || time > duration) { this.tip.hidden = true; return; }
      const lines = [`${time.toFixed(2)} s`];
      const note = notes.find((one) => one.onset <= time && time < one.offset);
      if (note) {
        const { midi, kind, onset, offset, confidence, vibrato, text } = note;
        const unsung = kind === "sung" ? "" : ` (${kind})`, length = (offset - onset).toFixed(2);
        lines.push(`note ${withCents(midi)}${unsung}, ${length} s, ${Math.round(100 * confidence)} %`);
        if (vibrato[0]) lines.push(`vibrato ${vibrato[0]} Hz, ±${vibrato[1]} ct`);
        if (text) lines.push(`“${text}”`);
      }
      if (cents[frame] != null) {
        const midi = cents[frame] / 100;
        lines.push(`${withCents(midi)}, ${(440 * 2 ** ((midi - 69) / 12)).toFixed(1)} Hz, voicing ${voicing[frame]} %`);
      }
      this.tip.textContent = lines.join("\n");
      this.tip.hidden = false;
      const y = event.clientY - this.view.getBoundingClientRect().top;
      const { offsetWidth, offsetHeight } = this.tip;
      const fits = x + 14 + offsetWidth <= this.view.clientWidth;
      this.tip.style.left = `${fits ? x + 14 : Math.max(0, x - 14 - offsetWidth)}px`;
      this.tip.style.top = `${Math.max(0, Math.min(y + 14, this.view.clientHeight - offsetHeight))}px`;
    }

    // The playhead lies over the picture, which is only drawn again when the view moves on.
    follow() {
      this.place();
      const player = this.player;
      if (!player || player.paused || this.following) return;
      this.following = requestAnimationFrame(() => {
        this.following = 0;
        if (this.isConnected) this.follow();
      });
    }

    place() {
      const player = this.player, [from, to] = this.range;
      if (player && !player.paused && !this.pressed && (player.currentTime < from || player.currentTime > to)) {
        const begin = Math.min(Math.max(0, player.currentTime - 0.1 * (to - from)), this.data.duration - (to - from));
        return this.show(begin, begin + to - from);
      }
      this.head.hidden = !player || player.currentTime < from || player.currentTime > to;
      if (this.head.hidden) return;
      this.head.style.left = `${this.x(player.currentTime) - 1}px`;
      this.head.style.height = `${this.plotHeight}px`;
    }

    draw() {
      const scale = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = this.view;
      if (!width || !height) return;
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      const pen = this.canvas.getContext("2d");
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      pen.fillStyle = BACKGROUND;
      pen.fillRect(0, 0, width, height);
      pen.font = "12px system-ui, sans-serif";
      pen.textBaseline = "middle";
      this.drawNames(pen);
      this.drawTimes(pen);
      this.drawVoicing(pen);
      pen.save();
      pen.beginPath();
      pen.rect(LEFT, 0, this.plotWidth, this.plotHeight);
      pen.clip();
      this.drawSpectrogram(pen);
      this.drawLines(pen);
      const isNear = (this.range[1] - this.range[0]) / this.plotWidth < 0.05;
      if (!isNear) this.drawCurve(pen, isNear); // from afar the curve would hide the notes
      this.drawNotes(pen);
      if (isNear) this.drawCurve(pen, isNear);
      pen.restore();
      this.place();
    }

    drawSpectrogram(pen) {
      if (!this.image?.complete || !this.image.naturalWidth) return;
      const [bottom, top] = this.data.imageMidi, left = this.x(0), right = this.x(this.data.duration);
      pen.drawImage(this.image, left, this.y(top), right - left, this.y(bottom) - this.y(top));
    }

    // The notes that have room for their names: all Cs, and others as far as they fit.
    named() {
      const [low, high] = this.data.view, semitone = this.plotHeight / (high - low);
      const [, kinds] = NAMED.find(([height]) => semitone > height);
      const all = Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, index) => Math.ceil(low) + index);
      return all.filter((midi) => kinds.includes(midi % 12) && this.y(midi) > 7 && this.y(midi) < this.plotHeight - 6);
    }

    drawNames(pen) {
      pen.fillStyle = INK;
      pen.textAlign = "right";
      for (const midi of this.named()) pen.fillText(noteName(midi), LEFT - 6, this.y(midi));
    }

    drawLines(pen) {
      for (const midi of this.named()) {
        pen.fillStyle = `rgba(${LINE}, ${midi % 12 ? 0.08 : 0.25})`;
        pen.fillRect(LEFT, this.y(midi), this.plotWidth, 1);
      }
    }

    drawTimes(pen) {
      const [from, to] = this.range;
      const step = STEPS_S.find((seconds) => ((to - from) / seconds) * 60 <= this.plotWidth) ?? STEPS_S.at(-1);
      pen.fillStyle = INK;
      pen.textAlign = "center";
      for (let index = Math.ceil(from / step); index * step <= to; index++) {
        const time = index * step, x = this.x(time);
        const text = step < 1 ? `${clock(time + 1e-6)}.${Math.round(10 * time) % 10}` : clock(time + 1e-6);
        pen.fillText(text, Math.min(Math.max(LEFT + 12, x), LEFT + this.plotWidth - 14), this.view.clientHeight - 10);
      }
    }

    drawNotes(pen) {
      const bar = Math.min(16, Math.max(4, 0.8 * this.plotHeight / (this.data.view[1] - this.data.view[0])));
      for (const { onset, offset, midi, confidence, kind, text } of this.data.notes) {
        if (offset < this.range[0] || onset > this.range[1]) continue;
        const x = this.x(onset), width = Math.max(1.5, this.x(offset) - x), y = this.y(midi) - bar / 2;
        pen.beginPath();
        pen.roundRect(x, y, width, bar, Math.min(bar, width) / 2.5);
        pen.fillStyle = `rgba(${NOTE}, ${kind === "sung" ? 0.25 + 0.6 * confidence : 0})`;
        pen.fill();
        pen.setLineDash(kind === "sung" ? [] : [2, 2]);
        pen.strokeStyle = `rgba(${NOTE}, 0.9)`;
        pen.lineWidth = 1;
        if (width > 3) pen.stroke();
        if (text && width > 6) {
          pen.textAlign = "left";
          pen.lineWidth = 3;
          pen.setLineDash([]);
          pen.strokeStyle = BACKGROUND;
          pen.strokeText(text, x, y + bar + 9);
          pen.fillStyle = INK;
          pen.fillText(text, x, y + bar + 9);
        }
      }
      pen.setLineDash([]);
    }

    drawCurve(pen, isNear) {
      const { cents, hop } = this.data, [from, to] = this.range;
      pen.beginPath();
      let before = null;
      for (let frame = Math.max(0, Math.floor(from / hop) - 1); frame < Math.min(cents.length, to / hop + 2); frame++) {
        const pitch = cents[frame];
        if (pitch != null) {
          const joined = before != null && Math.abs(pitch - before) <= MAX_GLIDE_CENTS;
          pen[joined ? "lineTo" : "moveTo"](this.x(frame * hop), this.y(pitch / 100));
        }
        before = pitch;
      }
      pen.lineJoin = pen.lineCap = "round";
      for (const [colour, width] of [["rgba(11, 7, 20, 0.75)", isNear ? 4 : 2], [CURVE, isNear ? 1.8 : 1]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.stroke();
      }
    }

    // The highest value of each column of pixels.
    drawVoicing(pen) {
      const { voicing, hop, threshold } = this.data, bottom = this.view.clientHeight - BOTTOM;
      pen.fillStyle = INK;
      pen.textAlign = "left";
      pen.fillText("probability of singing", LEFT, this.plotHeight + GAP / 2);
      pen.fillStyle = `rgba(${LINE}, 0.08)`;
      pen.fillRect(LEFT, bottom - LANE, this.plotWidth, LANE);
      pen.fillStyle = "rgba(200, 182, 255, 0.6)";
      for (let column = 0; column < this.plotWidth; column++) {
        const [first, next] = [column, column + 1].map((pixel) => Math.round(this.timeAt(LEFT + pixel) / hop));
        const highest = Math.max(0, ...voicing.slice(first, Math.max(first + 1, next)));
        pen.fillRect(LEFT + column, bottom - (LANE * highest) / 100, 1, (LANE * highest) / 100);
      }
      if (threshold == null) return;
      pen.strokeStyle = "#ffb454";
      pen.setLineDash([5, 4]);
      pen.beginPath();
      pen.moveTo(LEFT, bottom - LANE * threshold);
      pen.lineTo(LEFT + this.plotWidth, bottom - LANE * threshold);
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  customElements.define("majl-roll", Roll);
})();

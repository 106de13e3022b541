// The sung pitch over time on a canvas. Sung frames are lines; where nobody sings there is nothing.

import { clock, hzToMidi, noteAndCents, noteName } from "./notes.js";

const LEFT = 44, BOTTOM = 24; // pixels, for the names of notes and for times
const MIN_RANGE_S = 1;
const MIN_SEMITONES = 12;
const TICKS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
const SMALL_DRAG = 5; // pixels up to which a press is a click

/** A canvas with frames `{timeS, f0Hz, voiced}`. The event `seek` has the time in seconds as `detail`. */
export class PitchPlot extends EventTarget {
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.frames = [];
    this.duration = 0;
    this.range = [0, 0]; // seconds that are shown
    this.playhead = null;
    this.pointer = null; // position of the mouse in pixels
    new ResizeObserver(() => this.requestDraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.requestDraw());
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show the frames of a whole song. */
  show(frames, duration) {
    this.frames = frames;
    this.duration = duration;
    this.notes = noteRange(frames);
    this.view(0, duration);
  }

  /** Show the last `shownS` seconds of frames that go on, and the notes between two MIDI numbers. */
  follow(frames, shownS, notes) {
    this.frames = frames;
    this.notes = notes;
    const last = frames.at(-1).timeS;
    this.range = [last - shownS, last];
    this.requestDraw();
  }

  /** Show the seconds between `start` and `stop`, or as much of them as there is. */
  view(start, stop) {
    const length = Math.min(Math.max(stop - start, Math.min(MIN_RANGE_S, this.duration)), this.duration);
    start = Math.min(Math.max(start, 0), this.duration - length);
    this.range = [start, start + length];
    this.canvas.dataset.range = this.range.join(" ");
    this.requestDraw();
  }

  /** Show `factor` times as much, around `centre` in seconds. */
  zoom(factor, centre = (this.range[0] + this.range[1]) / 2) {
    const [start, stop] = this.range;
    this.view(centre - factor * (centre - start), centre + factor * (stop - centre));
  }

  /** Show what is later by a share of what is shown. */
  pan(share) {
    const [start, stop] = this.range, step = share * (stop - start);
    this.view(start + step, stop + step);
  }

  /** Draw the line where the player is, and follow it. */
  setPlayhead(time, follow) {
    this.playhead = time;
    const [start, stop] = this.range;
    if (follow && (time < start || time > stop)) this.view(time, time + stop - start);
    this.requestDraw();
  }

  /** The frame at a time in seconds. */
  frameAt(time) {
    return this.frames[this.indexAt(time)];
  }

  /** The number of the first frame from a time on, or of the last frame. */
  indexAt(time) {
    let low = 0, high = this.frames.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.frames[middle].timeS < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  press(event) {
    this.drag = { x: event.offsetX, range: this.range, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (this.drag && this.canvas.hasPointerCapture(event.pointerId)) {
      this.drag.moved ||= Math.abs(event.offsetX - this.drag.x) > SMALL_DRAG;
      const [start, stop] = this.drag.range;
      const shift = ((this.drag.x - event.offsetX) * (stop - start)) / (this.canvas.clientWidth - LEFT);
      if (this.drag.moved) this.view(start + shift, stop + shift);
    }
    this.point([event.offsetX, event.offsetY]);
  }

  release(event) {
    if (this.drag && !this.drag.moved && event.offsetX >= LEFT) {
      this.dispatchEvent(new CustomEvent("seek", { detail: this.timeAt(event.offsetX) }));
    }
    this.drag = null;
  }

  point(pointer) {
    this.pointer = pointer;
    this.requestDraw();
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.timeAt(event.offsetX));
  }

  key(event) {
    const actions = {
      ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2),
      "+": () => this.zoom(0.5), "-": () => this.zoom(2),
      Home: () => this.view(0, this.range[1] - this.range[0]),
      End: () => this.view(this.duration - (this.range[1] - this.range[0]), this.duration),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  timeAt(x) {
    const [start, stop] = this.range;
    return start + ((x - LEFT) / (this.canvas.clientWidth - LEFT)) * (stop - start);
  }

  requestDraw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  draw() {
    const { canvas } = this, width = canvas.clientWidth, height = canvas.clientHeight, scale = devicePixelRatio || 1;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const style = getComputedStyle(canvas), colour = (name) => style.getPropertyValue(name);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = `12px ${style.fontFamily}`;
    if (!this.frames.length) return;
    const [start, stop] = this.range, [low, high] = this.notes;
    const x = (time) => LEFT + ((time - start) / (stop - start)) * (width - LEFT);
    const y = (midi) => (height - BOTTOM) * (1 - (midi - low) / (high - low));

    // Lines and names of notes: all where there is room, else the white keys or the Cs.
    const room = (height - BOTTOM) / (high - low);
    const isNamed = (midi) => room > 14 || (room > 8 && [0, 2, 4, 5, 7, 9, 11].includes(midi % 12)) || midi % 12 === 0;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let midi = Math.ceil(low); midi <= high; midi++) {
      if (!isNamed(midi)) continue;
      context.fillStyle = colour(midi % 12 === 0 ? "--line-strong" : "--line");
      context.fillRect(LEFT, Math.round(y(midi)), width - LEFT, 1);
      context.fillStyle = colour("--subdued");
      if (y(midi) > 6 && y(midi) < height - BOTTOM) context.fillText(noteName(midi), LEFT - 6, y(midi));
    }
    const step = TICKS_S.find((tick) => (tick / (stop - start)) * (width - LEFT) > 60) ?? TICKS_S.at(-1);
    context.textAlign = "center";
    for (let tick = Math.ceil(Math.max(start, 0) / step); tick * step <= stop; tick++) {
      context.fillStyle = colour("--line");
      context.fillRect(Math.round(x(tick * step)), 0, 1, height - BOTTOM);
      context.fillStyle = colour("--subdued");
      const label = step < 1 ? `${clock(tick * step)}.${Math.round(tick * step * 10) % 10}` : clock(tick * step);
      const half = context.measureText(label).width / 2;
      context.fillText(label, Math.min(Math.max(x(tick * step), LEFT + half), width - half), height - BOTTOM / 2);
    }

    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, height - BOTTOM);
    context.clip();
    context.strokeStyle = colour("--accent");
    context.lineWidth = 2.5;
    context.lineJoin = context.lineCap = "round";
    context.beginPath();
    const last = this.indexAt(stop);
    for (let index = Math.max(this.indexAt(start) - 1, 0), before = null; index <= last; index++) {
      const frame = this.frames[index], midi = frame.voiced ? hzToMidi(frame.f0Hz) : null;
      const joined = midi !== null && before !== null && Math.abs(midi - before) < 1;
      if (midi !== null) {
        if (!joined) context.moveTo(x(frame.timeS), y(midi));
        context.lineTo(x(frame.timeS), y(midi));
      }
      before = midi;
    }
    context.stroke();
    if (this.playhead !== null) {
      context.fillStyle = colour("--playhead");
      context.fillRect(Math.round(x(this.playhead)) - 1, 0, 2, height - BOTTOM);
    }
    context.restore();
    if (this.pointer && this.pointer[0] >= LEFT && !this.drag?.moved) this.drawTip(context, colour, width);
  }

  /** Time and pitch under the mouse. */
  drawTip(context, colour, width) {
    const [px, py] = this.pointer, time = this.timeAt(px), frame = this.frameAt(time);
    const sung = frame?.voiced ? `${noteAndCents(frame.f0Hz)}, ${frame.f0Hz.toFixed(1)} Hz` : "not sung";
    const text = `${clock(time)}.${Math.floor((time * 10) % 10)}  ${sung}`;
    const length = context.measureText(text).width + 16;
    const left = Math.min(Math.max(px - length / 2, LEFT), width - length), top = Math.max(py - 36, 0);
    context.fillStyle = colour("--text");
    context.beginPath();
    context.roundRect(left, top, length, 24, 6);
    context.fill();
    context.fillStyle = colour("--background");
    context.textAlign = "left";
    context.fillText(text, left + 8, top + 12.5);
  }
}

/** The MIDI numbers between which the sung frames lie, with some room. */
function noteRange(frames) {
  let low = Infinity, high = -Infinity;
  for (const { f0Hz, voiced } of frames) {
    if (!voiced) continue;
    low = Math.min(low, hzToMidi(f0Hz));
    high = Math.max(high, hzToMidi(f0Hz));
  }
  if (low > high) [low, high] = [48, 72];
  const room = Math.max(1.5, (MIN_SEMITONES - (high - low)) / 2);
  return [Math.floor(low - room), Math.ceil(high + room)];
}

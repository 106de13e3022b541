// The three players as one: starting one pauses the others and takes over their place; the plot shows where it is, and
// a click into the plot goes there. Handlers sit on the document, as gradio replaces what is inside.
(() => {
  const players = () => [...document.querySelectorAll(".majl-player audio")];
  const isPlayer = (node) => node instanceof HTMLAudioElement && node.closest(".majl-player");
  let current = null;

  document.addEventListener("play", (event) => {
    if (!isPlayer(event.target)) return;
    const before = current;
    current = event.target;
    for (const player of players()) {
      player.classList.toggle("majl-playing", player === current);
      if (player !== current) player.pause();
    }
    if (before && before !== current && before.isConnected && !before.ended) current.currentTime = before.currentTime;
    requestAnimationFrame(follow);
  }, true);

  document.addEventListener("seeked", (event) => {
    if (!isPlayer(event.target)) return;
    if (!current || !current.isConnected || current.paused) current = event.target;
    place();
  }, true);

  const plot = () => document.querySelector("#majl-plot .js-plotly-plot");
  let attached = null; // the plot that has our handlers
  let view = null; // what was zoomed to, and in which song

  // Gradio makes a new plot when the threshold moves; it gets the handlers, the view and the playhead of the last one.
  let looking = false;
  new MutationObserver(() => {
    if (looking || plot() === attached) return;
    looking = true;
    requestAnimationFrame(attach); // by then the plot is drawn
  }).observe(document.documentElement, { childList: true, subtree: true });

  function attach() {
    looking = false;
    const graph = plot();
    if (graph === attached || !graph?.on || !graph._fullLayout?.xaxis) return;
    attached = graph;
    graph.style.position = "relative";
    graph.on("plotly_relayout", () => { remember(graph); nameNotes(graph); place(); });
    graph.on("plotly_afterplot", place);
    if (view?.song === graph._fullLayout.uirevision) {
      window.Plotly?.relayout(graph, { "xaxis.range": view.x, "yaxis.range": view.y });
    }
    place();
  }

  function remember(graph) {
    const { xaxis, yaxis, uirevision } = graph._fullLayout;
    view = { song: uirevision, x: xaxis.range.slice(), y: yaxis.range.slice() };
  }

  // The playhead lies over the plot instead of in it: redrawing the plot for every frame would be far too much work.
  function place() {
    const graph = attached;
    if (!graph?.isConnected) return;
    let head = document.getElementById("majl-playhead");
    if (!head || head.parentElement !== graph) {
      head?.remove();
      head = document.createElement("div");
      head.id = "majl-playhead";
      head.setAttribute("aria-hidden", "true");
      graph.append(head);
    }
    const { xaxis, _size: size } = graph._fullLayout;
    const x = xaxis.d2p(current?.isConnected ? current.currentTime : 0);
    const inside = current?.isConnected && x >= 0 && x <= size.w;
    head.style.display = inside ? "block" : "none";
    head.style.left = `${size.l + x - 1}px`;
    head.style.top = `${size.t}px`;
    head.style.height = `${size.h}px`;
  }

  // Few octaves in view leave room for more names at the pitch axis.
  function nameNotes(graph) {
    const { yaxis, meta } = graph._fullLayout;
    const level = meta?.named?.find(({ semitones }) => yaxis.range[1] - yaxis.range[0] <= semitones);
    if (!level || yaxis.tickvals?.length === level.notes.length) return;
    window.Plotly?.relayout(graph, { "yaxis.tickvals": level.notes, "yaxis.ticktext": level.names });
  }

  function follow() {
    if (!current?.isConnected) return;
    place();
    if (!current.paused && !current.ended) requestAnimationFrame(follow);
  }

  // A click, not the end of a drag that zooms.
  let pressedAt = null;
  document.addEventListener("pointerdown", (event) => {
    pressedAt = event.target.closest?.("#majl-plot") ? [event.clientX, event.clientY] : null;
  }, true);
  document.addEventListener("pointerup", (event) => {
    const graph = plot();
    if (!pressedAt || !graph || event.target.closest?.(".modebar")) return;
    const moved = Math.hypot(event.clientX - pressedAt[0], event.clientY - pressedAt[1]);
    pressedAt = null;
    const { xaxis, _size: size } = graph._fullLayout;
    const x = event.clientX - graph.getBoundingClientRect().left - size.l;
    if (moved > 4 || x < 0 || x > size.w) return;
    if (!current?.isConnected) current = players()[0] ?? null;
    if (!current) return;
    current.currentTime = Math.max(0, xaxis.p2d(x));
    place();
  }, true);
})();

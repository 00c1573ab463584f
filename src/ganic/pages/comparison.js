"use strict";
// Two panes show the same part of two pictures. Everything that is seen follows from `view` and `chosen`;
// whatever changes them calls `draw`.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const stage = byId("stage"), divider = byId("divider"), announce = byId("announce");
  const sides = ["left", "right"];
  const panes = { left: byId("left"), right: byId("right") };
  const pictures = data.pictures.map((_, index) => byId(`picture-${index}`));

  const chosen = { left: data.left, right: data.right };
  const view = {
    mode: "slider", // or "side": beside each other
    split: 50, // per cent of the stage's width
    solo: null, // "left" or "right" while flickering
    scale: null, // screen pixels of the page per picture pixel; null: as large as fits
    x: data.width / 2, y: data.height / 2, // the picture point in the middle of each pane
  };
  const LARGEST = 32; // device pixels per picture pixel
  const STEP = 1.25;

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const density = () => window.devicePixelRatio || 1;
  const paneSize = () => {
    const box = panes.left.getBoundingClientRect();
    return { width: Math.max(box.width, 1), height: Math.max(box.height, 1) };
  };
  const fitting = () => {
    const { width, height } = paneSize();
    const ratio = Math.min(width / data.width, height / data.height) * density();
    return (ratio > 1 && ratio < 1.12 ? 1 : ratio) / density(); // nearly 100 %: then without resampling
  };
  const scaleNow = () => view.scale ?? fitting();
  const enlarged = () => scaleNow() > fitting() * 1.001;

  // --- drawing

  function draw() {
    stage.dataset.mode = view.mode;
    stage.classList.toggle("solo", view.solo !== null);
    for (const side of sides) stage.classList.toggle(`show-${side}`, view.solo === side);

    const { width, height } = paneSize();
    const scale = scaleNow();
    // The part shown stays inside the picture; a picture smaller than the pane is centred.
    const halfX = width / 2 / scale, halfY = height / 2 / scale;
    view.x = 2 * halfX >= data.width ? data.width / 2 : clamp(view.x, halfX, data.width - halfX);
    view.y = 2 * halfY >= data.height ? data.height / 2 : clamp(view.y, halfY, data.height - halfY);
    const snap = (value) => Math.round(value * density()) / density(); // whole device pixels: no blur at 100 %
    const left = snap(width / 2 - view.x * scale), top = snap(height / 2 - view.y * scale);
    for (const side of sides) {
      pictures[chosen[side]].style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    }
    stage.classList.toggle("enlarged", enlarged());
    // Enlarged on purpose: the pixels themselves, not smoothed.
    stage.classList.toggle("pixels", scale * density() >= (view.scale === null ? 4 : 1.5));
    stage.style.setProperty("--split", `${view.split}%`);
    divider.setAttribute("aria-valuenow", String(Math.round(view.split)));
    divider.setAttribute("aria-valuetext", `${Math.round(view.split)} % ${data.pictures[chosen.left].name}`);
    byId("scale").textContent = `${Math.round(scale * density() * 100)} %`;
    byId("both").disabled = view.solo === null;
    byId("side").setAttribute("aria-pressed", String(view.mode === "side"));
  }

  function place() {
    for (const side of sides) {
      const pane = panes[side], { name, size, note } = data.pictures[chosen[side]];
      for (const old of pane.querySelectorAll("img")) byId("pictures").append(old);
      pane.prepend(pictures[chosen[side]]);
      const tag = pane.querySelector(".tag");
      tag.replaceChildren(element("b", name), " ", element("small", size));
      if (note) tag.append(element("em", note));
      document.querySelector(`input[name="${side}"][value="${chosen[side]}"]`).checked = true;
    }
    draw();
  }

  function element(kind, text, className) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // --- choosing

  function choose(side, index) {
    const other = side === "left" ? "right" : "left";
    if (chosen[other] === index) chosen[other] = chosen[side]; // the same on both sides: change places
    chosen[side] = index;
    if (view.solo) show(side);
    place();
  }

  for (const side of sides) {
    const chips = document.querySelector(`#choose-${side} .chips`);
    data.pictures.forEach((picture, index) => {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, { type: "radio", name: side, value: String(index) });
      input.addEventListener("change", () => choose(side, index));
      const face = element("span", picture.name, picture.note ? "over" : "");
      face.append(element("small", picture.bytes));
      if (picture.note) face.title = picture.note;
      label.append(input, face);
      chips.append(label);
    });
  }

  // --- flicker, mode, theme

  function show(side) {
    view.solo = side;
    announce.textContent = side ? `Showing ${data.pictures[chosen[side]].name}` : "Showing both";
  }
  function flicker() {
    view.mode = "slider";
    show(view.solo === "left" ? "right" : "left");
    draw();
  }
  function both() {
    show(null);
    draw();
  }
  function toggleSide() {
    view.mode = view.mode === "side" ? "slider" : "side";
    both();
  }
  function split(percent) {
    view.split = clamp(percent, 0, 100);
    if (view.solo) show(null);
    draw();
  }
  function toggleTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  }

  // --- zoom and pan; points are in the coordinates of the window

  function pictureAt(clientX, clientY) {
    const inRight = view.mode === "side" && !inside(panes.left, clientX, clientY);
    const box = panes[inRight ? "right" : "left"].getBoundingClientRect();
    const scale = scaleNow();
    return {
      fromX: clientX - box.left - box.width / 2, fromY: clientY - box.top - box.height / 2,
      x: view.x + (clientX - box.left - box.width / 2) / scale, y: view.y + (clientY - box.top - box.height / 2) / scale,
    };
  }
  function inside(pane, clientX, clientY) {
    const box = pane.getBoundingClientRect();
    return clientX >= box.left && clientX <= box.right && clientY >= box.top && clientY <= box.bottom;
  }
  function zoomTo(scale, point) {
    const smallest = Math.min(fitting(), scaleNow()); // 100 % may be smaller than what fits
    const next = clamp(scale, smallest, Math.max(LARGEST / density(), smallest));
    if (point) { // what is under the pointer stays there
      view.x = point.x - point.fromX / next;
      view.y = point.y - point.fromY / next;
    }
    view.scale = Math.abs(next / fitting() - 1) < 0.001 ? null : next;
    draw();
  }
  const zoomBy = (factor, point) => zoomTo(scaleNow() * factor, point);
  const zoomDevice = (ratio) => { // exact, even where that is smaller than what fits
    view.scale = ratio / density();
    draw();
  };
  function fit() {
    view.scale = null;
    draw();
  }
  function pan(dx, dy) {
    const scale = scaleNow();
    view.x -= dx / scale;
    view.y -= dy / scale;
    draw();
  }

  stage.addEventListener("wheel", (event) => {
    const larger = event.deltaY < 0;
    if (event.deltaY === 0 || (!larger && !enlarged())) return; // nothing to shrink: let the page scroll
    event.preventDefault();
    const step = event.deltaMode === 0 ? Math.min(Math.abs(event.deltaY), 120) / 120 : 1;
    zoomBy((larger ? STEP : 1 / STEP) ** Math.max(step, 0.1), pictureAt(event.clientX, event.clientY));
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => {
    if (enlarged()) fit();
    else zoomTo(Math.max(3 / density(), fitting() * 2), pictureAt(event.clientX, event.clientY));
  });

  const fingers = new Map(); // pointers that are down, by id
  let dividing = false;
  const splitAt = (clientX) => {
    const box = stage.getBoundingClientRect();
    split(100 * (clientX - box.left) / box.width);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const onDivider = divider.contains(event.target);
    dividing = fingers.size === 1 && view.mode === "slider" && !view.solo && (onDivider || !enlarged());
    if (dividing && !onDivider && event.pointerType === "mouse") splitAt(event.clientX);
    stage.classList.toggle("dragging", !dividing);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y);
      if (apart(before) > 0) zoomBy(apart(now) / apart(before), pictureAt((now.x + other.x) / 2, (now.y + other.y) / 2));
      pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    } else if (dividing) {
      splitAt(event.clientX);
    } else if (enlarged()) {
      pan(now.x - before.x, now.y - before.y);
    }
    fingers.set(event.pointerId, now);
  });
  const release = (event) => {
    fingers.delete(event.pointerId);
    dividing = false;
    stage.classList.remove("dragging");
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);

  // --- buttons and keys

  const buttons = {
    flicker, both, side: toggleSide, fit, theme: toggleTheme,
    in: () => zoomBy(STEP), out: () => zoomBy(1 / STEP),
    real: () => zoomDevice(1), triple: () => zoomDevice(3),
  };
  for (const [id, action] of Object.entries(buttons)) {
    byId(id).addEventListener("click", (event) => {
      action();
      if (event.detail > 0) event.currentTarget.blur(); // clicked with a pointer: the space bar is for flicker
    });
  }

  function arrow(event, dx, dy) {
    const onDivider = event.target === divider;
    if (event.target.matches("input, .scroll")) return false; // their own arrows
    if (enlarged() && !onDivider) pan(-dx * (event.shiftKey ? 160 : 40), -dy * (event.shiftKey ? 160 : 40));
    else if (view.mode === "slider" && dx) split(view.split + dx * (event.shiftKey ? 10 : 1));
    else return false;
    return true;
  }
  const keys = {
    " ": (event) => { if (!event.repeat) flicker(); },
    Escape: both, s: toggleSide, t: toggleTheme,
    "+": () => zoomBy(STEP), "=": () => zoomBy(STEP), "-": () => zoomBy(1 / STEP),
    0: fit, 1: () => zoomDevice(1), 2: () => zoomDevice(2), 3: () => zoomDevice(3), 4: () => zoomDevice(4),
    ArrowLeft: (event) => arrow(event, -1, 0), ArrowRight: (event) => arrow(event, 1, 0),
    ArrowUp: (event) => arrow(event, 0, -1), ArrowDown: (event) => arrow(event, 0, 1),
    Home: (event) => event.target === divider && split(0), End: (event) => event.target === divider && split(100),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.closest("button")) return; // a focused button is pressed by it
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action && action(event) !== false) event.preventDefault();
  });

  // --- start

  function resize() {
    // As high as the picture is when it fills the width; the style sheet caps it at the window's height.
    stage.style.setProperty("--natural-height", `${stage.clientWidth * data.height / data.width}px`);
    draw();
  }
  window.addEventListener("resize", resize);
  window.matchMedia(`(resolution: ${density()}dppx)`).addEventListener("change", draw);
  place();
  resize();
  for (const picture of pictures) picture.decode().catch(() => {}); // so that the first flicker does not blink
})();

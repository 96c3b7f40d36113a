// The case browser of a site's page. Everything it shows is in the page; nothing is loaded and nothing is sent.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const facts = JSON.parse(byId("facts").textContent);
  const list = byId("cases");
  const items = [...list.children];
  const figures = [...document.querySelectorAll("figure.plane")];
  const storageKey = "diffuse-uda/verdicts/" + facts.report;
  const VERDICTS = ["accept", "reject"];
  const SAID = { accept: "accepted", reject: "rejected" };
  const MARKS = { accept: "✓", reject: "✗" };
  const KEPT_CASES = 3;

  // ---- verdicts: a list of events, the last one of a case counts; undo takes the last one away ----
  let events = [];
  let keeps = true;
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey) || "[]");
    const isEvent = (one) => one && typeof one.case === "string" && VERDICTS.includes(one.verdict) && typeof one.at === "string";
    events = Array.isArray(kept) ? kept.filter(isEvent) : [];
    localStorage.setItem(storageKey, JSON.stringify(events));
  } catch (error) {
    keeps = false; // a browser may give a file no storage at all
  }
  byId("unkept").hidden = keeps;

  const verdictOf = (name) => {
    for (let index = events.length - 1; index >= 0; index -= 1) if (events[index].case === name) return events[index].verdict;
    return "";
  };

  const keep = () => {
    if (!keeps) return;
    try { localStorage.setItem(storageKey, JSON.stringify(events)); } catch (error) { keeps = false; byId("unkept").hidden = false; }
  };

  // ---- the list ----
  let shown = items;
  let current = null;

  const nameOf = (item) => item.dataset.case;
  const numberOf = (item, key) => { const value = parseFloat(item.getAttribute("data-" + key)); return Number.isNaN(value) ? null : value; };

  const arrange = () => {
    const order = byId("order").value;
    const filter = byId("filter").value;
    const byName = (one, other) => (nameOf(one) < nameOf(other) ? -1 : 1);
    const direction = order === "dice" ? 1 : -1; // a low Dice is bad, of everything else much is bad
    const compare = (one, other) => {
      if (order === "name") return byName(one, other);
      const [left, right] = [numberOf(one, order), numberOf(other, order)];
      if (left === null || right === null) return left === right ? byName(one, other) : left === null ? 1 : -1;
      return left === right ? byName(one, other) : direction * (left - right);
    };
    items.sort(compare);
    shown = items.filter((item) => filter === "all" || (verdictOf(nameOf(item)) || "open") === filter);
    for (const item of items) { item.hidden = !shown.includes(item); list.append(item); }
    byId("nothing").hidden = shown.length > 0;
    mark();
  };

  const mark = () => {
    let judged = 0, accepted = 0;
    for (const item of items) {
      const verdict = verdictOf(nameOf(item));
      judged += verdict ? 1 : 0;
      accepted += verdict === "accept" ? 1 : 0;
      const place = item.querySelector("[data-mark]");
      place.textContent = verdict ? MARKS[verdict] : "";
      place.className = "mark " + verdict;
      place.title = verdict ? SAID[verdict] : "";
      item.firstElementChild.setAttribute("aria-current", item === current ? "true" : "false");
    }
    const verdict = current ? verdictOf(nameOf(current)) : "";
    for (const name of VERDICTS) byId(name).setAttribute("aria-pressed", verdict === name ? "true" : "false");
    byId("undo").disabled = events.length === 0;
    byId("progress").textContent = `${judged} of ${items.length} cases judged: ${accepted} accepted, ${judged - accepted} rejected.`;
    const place = shown.indexOf(current);
    byId("place").textContent = current === null ? "" : (place < 0 ? "not in the list" : `${place + 1} of ${shown.length}`) + (verdict ? `, ${SAID[verdict]}` : "");
  };

  const judge = (verdict) => {
    if (current === null) return;
    const judged = current;
    const place = shown.indexOf(judged);
    const following = place < 0 ? null : shown[place + 1] || null;
    events.push({ case: nameOf(judged), verdict, at: new Date().toISOString() });
    keep();
    byId("said").textContent = `${nameOf(judged)} ${SAID[verdict]}`;
    arrange();
    if (following) show(following);
  };

  const undo = () => {
    const last = events.pop();
    if (!last) return;
    keep();
    byId("said").textContent = `${last.case}: verdict taken back`;
    arrange();
    const item = items.find((one) => nameOf(one) === last.case);
    if (item) show(item);
  };

  const move = (step) => {
    if (shown.length === 0) return;
    const place = shown.indexOf(current);
    const wanted = place < 0 ? 0 : Math.min(Math.max(place + step, 0), shown.length - 1);
    if (shown[wanted] !== current) show(shown[wanted]);
  };

  const save = () => {
    const last = new Map();
    for (const event of events) { last.delete(event.case); last.set(event.case, event); }
    const content = { kind: "diffuse-uda-verdicts", schema: 1, report: facts.report, saved: new Date().toISOString(), verdicts: [...last.values()] };
    const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = `verdicts-${facts.report}.json`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    byId("said").textContent = `${last.size} verdicts saved`;
  };

  // ---- pictures: decoded when a case is looked at, and kept for the last few ----
  const decoded = new Map();

  const picture = async (address) => { const image = new Image(); image.src = address; await image.decode(); return image; };

  const sheetsOf = (name) => {
    const known = decoded.get(name);
    if (known) { decoded.delete(name); decoded.set(name, known); return known; }
    const element = [...document.querySelectorAll("script[data-sheets]")].find((one) => one.dataset.sheets === name);
    const loading = (async () => {
      const sheets = JSON.parse(element.textContent);
      await Promise.all(Object.values(sheets.planes).map(async (plane) => {
        plane.grey = await picture(plane.scan);
        for (const layer of ["found", "drawn"]) {
          for (const label of Object.keys(plane[layer])) plane[layer][label] = await picture(plane[layer][label]);
        }
      }));
      return sheets;
    })();
    decoded.set(name, loading);
    for (const old of decoded.keys()) { if (decoded.size <= KEPT_CASES) break; decoded.delete(old); }
    return loading;
  };

  // ---- drawing ----
  let sheets = null;
  let active = figures[0];
  const scratch = document.createElement("canvas");

  const planeOf = (figure) => sheets.planes[figure.dataset.plane];
  const sliderOf = (figure) => figure.querySelector("input");
  const visible = (label) => document.querySelector(`[data-structure="${label}"]`)?.checked ?? true;

  const tileOf = (plane, number) => {
    const across = Math.round(plane.grey.naturalWidth / plane.pitch[0]);
    return [(number % across) * plane.pitch[0], Math.floor(number / across) * plane.pitch[1], plane.tile[0], plane.tile[1]];
  };

  const drawOutline = (context, image, tile, line) => {
    const { width, height } = context.canvas;
    scratch.width = width; scratch.height = height;
    const ring = scratch.getContext("2d");
    ring.imageSmoothingEnabled = false;
    for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1], [0.7, 0.7], [0.7, -0.7], [-0.7, 0.7], [-0.7, -0.7]]) {
      ring.drawImage(image, ...tile, x * line, y * line, width, height);
    }
    ring.globalCompositeOperation = "destination-out";
    ring.drawImage(image, ...tile, 0, 0, width, height);
    context.drawImage(scratch, 0, 0);
  };

  const drawCross = (figure, context, scale) => {
    const plane = planeOf(figure);
    const { width, height } = context.canvas;
    context.globalAlpha = 0.55;
    context.fillStyle = "#9fd0ff";
    for (const other of figures) {
      if (other === figure) continue;
      const cuts = planeOf(other);
      const [first, end] = sheets.box[cuts.fixed];
      const share = (end - 0.5 - cuts.slices[sliderOf(other).value]) / (end - first); // the far end comes first
      if (cuts.fixed === plane.across) context.fillRect(share * width, 0, scale, height);
      else context.fillRect(0, share * height, width, scale);
    }
    context.globalAlpha = 1;
  };

  const draw = (figure) => {
    if (sheets === null) return;
    const plane = planeOf(figure);
    const stage = figure.querySelector(".stage");
    const scale = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(stage.clientWidth * scale));
    const height = Math.max(1, Math.round(stage.clientHeight * scale));
    const [below, above] = ["grey", "colour"].map((name) => {
      const canvas = figure.querySelector("canvas." + name);
      canvas.width = width; canvas.height = height;
      return canvas.getContext("2d");
    });
    const number = Number(sliderOf(figure).value);
    const tile = tileOf(plane, number);
    below.canvas.style.filter = `brightness(${byId("brightness").value}%) contrast(${byId("contrast").value}%)`;
    below.imageSmoothingQuality = "high";
    below.drawImage(plane.grey, ...tile, 0, 0, width, height);
    above.imageSmoothingEnabled = false; // a border lies between voxels, and nowhere else
    const isOutline = byId("outline").checked;
    above.globalAlpha = Math.min(1, (byId("opacity").value / 100) * (isOutline ? 2 : 1)); // a thin line needs more
    for (const [label, image] of Object.entries(plane.found)) {
      if (!visible(label)) continue;
      if (isOutline) drawOutline(above, image, tile, 1.6 * scale);
      else above.drawImage(image, ...tile, 0, 0, width, height);
    }
    above.globalAlpha = 1;
    if (byId("reference")?.checked) {
      for (const [label, image] of Object.entries(plane.drawn)) if (visible(label)) drawOutline(above, image, tile, 1.1 * scale);
    }
    if (byId("cross").checked) drawCross(figure, above, scale);
    const words = `slice ${plane.slices[number] + 1} of ${plane.total}`;
    figure.querySelector("output").textContent = words;
    sliderOf(figure).setAttribute("aria-valuetext", words);
  };

  const drawAll = () => {
    for (const id of ["opacity", "contrast", "brightness"]) document.querySelector(`output[for="${id}"]`).textContent = byId(id).value + " %";
    figures.forEach(draw);
  };

  const layOut = () => {
    for (const figure of figures) {
      const plane = planeOf(figure);
      const stage = figure.querySelector(".stage");
      figure.style.flexGrow = plane.mm[0]; // one scale of millimetres for all three
      stage.style.aspectRatio = `${plane.mm[0]} / ${plane.mm[1]}`;
      stage.style.width = `min(100%, ${(62 * plane.mm[0]) / plane.mm[1]}vh)`;
      const slider = sliderOf(figure);
      slider.max = plane.slices.length - 1;
      slider.value = plane.start;
      ["left", "right", "top", "bottom"].forEach((side, place) => { figure.querySelector(".letter." + side).textContent = plane.letters[place]; });
    }
  };

  const show = async (item) => {
    current = item;
    const name = nameOf(item);
    byId("viewer").hidden = false;
    byId("case-name").textContent = name;
    for (const about of document.querySelectorAll("[data-about]")) about.hidden = about.dataset.about !== name;
    mark();
    const button = item.firstElementChild;
    const top = button.offsetTop - list.offsetTop; // the page itself must not jump
    if (top < list.scrollTop || top + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - 8;
    const loaded = await sheetsOf(name);
    if (current !== item) return; // somebody has moved on meanwhile
    sheets = loaded;
    layOut();
    drawAll();
    document.documentElement.dataset.shown = name;
    const following = shown[shown.indexOf(item) + 1];
    if (following) sheetsOf(nameOf(following));
  };

  // ---- what people do ----
  const step = (figure, by) => { const slider = sliderOf(figure); slider.value = Number(slider.value) + by; drawAll(); };

  const toggle = (box) => { if (box) { box.checked = !box.checked; drawAll(); } };

  let opacityBefore = 45;
  const overlay = () => {
    const slider = byId("opacity");
    if (Number(slider.value) > 0) { opacityBefore = slider.value; slider.value = 0; } else slider.value = opacityBefore;
    drawAll();
  };

  const cutThere = (figure, event) => {
    if (sheets === null) return;
    active = figure;
    const plane = planeOf(figure);
    const frame = figure.querySelector(".stage").getBoundingClientRect();
    const shares = { [plane.across]: (event.clientX - frame.left) / frame.width, [plane.up]: (event.clientY - frame.top) / frame.height };
    for (const other of figures) {
      if (other === figure) continue;
      const cuts = planeOf(other);
      const [first, end] = sheets.box[cuts.fixed];
      const wanted = end - 0.5 - shares[cuts.fixed] * (end - first);
      const distances = cuts.slices.map((slice) => Math.abs(slice - wanted));
      sliderOf(other).value = distances.indexOf(Math.min(...distances));
    }
    drawAll();
  };

  list.addEventListener("click", (event) => { const item = event.target.closest("li"); if (item) show(item); });
  for (const id of ["order", "filter"]) byId(id).addEventListener("change", () => { arrange(); if (!shown.includes(current)) move(0); });
  for (const name of VERDICTS) byId(name).addEventListener("click", () => judge(name));
  byId("undo").addEventListener("click", undo);
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  byId("save").addEventListener("click", save);
  document.querySelector(".controls").addEventListener("input", drawAll);
  for (const figure of figures) {
    sliderOf(figure).addEventListener("input", () => { active = figure; drawAll(); });
    figure.querySelector(".stage").addEventListener("click", (event) => cutThere(figure, event));
  }

  const keys = {
    j: () => move(1), ArrowRight: () => move(1), k: () => move(-1), ArrowLeft: () => move(-1),
    a: () => judge("accept"), r: () => judge("reject"), u: undo, o: overlay,
    ".": () => step(active, 1), ",": () => step(active, -1),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isSlider = event.target.matches?.("input[type=range]");
    if (event.target.matches?.("select") || (isSlider && event.key.startsWith("Arrow"))) return;
    const inList = list.contains(event.target);
    const action = keys[event.key] || (inList && { ArrowDown: () => move(1), ArrowUp: () => move(-1) }[event.key])
      || (/^[1-9]$/.test(event.key) && (() => toggle(document.querySelector(`[data-structure="${event.key}"]`))));
    if (!action) return;
    event.preventDefault();
    action();
    if (inList && current) current.firstElementChild.focus({ preventScroll: true });
  });
  addEventListener("resize", drawAll);
  addEventListener("beforeprint", drawAll);

  arrange();
  if (shown.length > 0) show(shown[0]);
})();

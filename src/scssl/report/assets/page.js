"use strict";
// Tables: sort on click, save as CSV.
for (const box of document.querySelectorAll(".table")) {
  const table = box.querySelector("table");
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.ariaSort === "ascending";
      heads.forEach((other) => { other.ariaSort = "none"; });
      head.ariaSort = down ? "descending" : "ascending";
      const numeric = head.classList.contains("number");
      const rows = [...table.tBodies[0].rows];
      const key = (row) => row.cells[column].dataset.v;
      rows.sort((a, b) => {
        // Missing values stay at the end, whichever way the rest goes.
        if ((key(a) === "") !== (key(b) === "")) return key(a) === "" ? 1 : -1;
        const order = numeric ? key(a) - key(b) : key(a).localeCompare(key(b), undefined, { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
  box.querySelector(".csv").addEventListener("click", () => {
    const quote = (text) => (/[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
    const lines = [heads.map((head) => quote(head.innerText.trim())).join(",")];
    for (const row of table.tBodies[0].rows) lines.push([...row.cells].map((cell) => quote(cell.dataset.v)).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = table.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // Pages opened from a disk may not use the clipboard: select the text instead.
      getSelection().selectAllChildren(code);
    }
  });
}

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

// Cells in the plane: the still picture gives way to canvases with hover, a choice of colours and highlighting.
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

const said = (v) => (Math.abs(v) >= 100 ? Math.round(v).toLocaleString("en") : String(Number(v.toPrecision(3))));
const spoken = (column) => (column.heading ? column.name : column.name.replaceAll("_", " "));

function cellsPanel(data, chosen) {
  const panel = document.createElement("div");
  panel.className = "panel";
  const label = document.createElement("label");
  label.textContent = "Coloured by ";
  const select = document.createElement("select");
  const heads = new Map();
  data.columns.forEach((column, i) => {
    let place = select;
    if (column.heading) {
      if (!heads.has(column.heading)) {
        const head = document.createElement("optgroup");
        head.label = column.heading;
        heads.set(column.heading, head);
        select.append(head);
      }
      place = heads.get(column.heading);
    }
    place.append(new Option(spoken(column), i));
  });
  select.value = chosen;
  // What is chosen, for print, where a list to choose from is of no use.
  const chosenName = document.createElement("b");
  label.append(select, chosenName);
  const canvas = document.createElement("canvas");
  const legend = document.createElement("div");
  legend.className = "legend";
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  panel.append(label, canvas, legend, tip);
  const n = data.x.length;
  let only = null;
  let place = null;

  const column = () => data.columns[select.value];
  const share = (c, i) => (c.values[i] - c.min) / (c.max - c.min || 1);
  const colourOf = (c, i) => {
    if (c.kind === "category") return c.codes[i] === 65535 ? "#b0b0b0" : c.colours[c.codes[i]];
    return Number.isNaN(c.values[i]) ? "#b0b0b0" : VIRIDIS[Math.min(9, Math.floor(share(c, i) * 10))];
  };
  const textOf = (c, i) => {
    if (c.kind === "category") return c.codes[i] === 65535 ? "none" : c.names[c.codes[i]];
    return Number.isNaN(c.values[i]) ? "none" : said(c.values[i]);
  };

  function draw() {
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width) return;
    const ratio = Math.max(devicePixelRatio || 1, 1);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    // One scale for both axes: distances in the layout must look the same in each direction.
    const scale = Math.min((width - 24) / data.spanX, (height - 24) / data.spanY);
    place = (i) => [width / 2 + (data.x[i] - 0.5) * data.spanX * scale, height / 2 - (data.y[i] - 0.5) * data.spanY * scale];
    const radius = Math.max(1, Math.min(3, Math.sqrt((width * height) / n) / 5));
    const c = column();
    // Of a feature, high values above low ones: a gene of few cells would drown in the others.
    const order = c.heading ? c.order : data.order;
    const faded = [];
    const strong = [];
    for (let k = 0; k < n; k++) {
      const i = order[k];
      (only === null || (c.kind === "category" && c.codes[i] === only) ? strong : faded).push(i);
    }
    for (const [cells, alpha] of [[faded, 0.12], [strong, 0.85]]) {
      pen.globalAlpha = alpha;
      for (const i of cells) {
        const [px, py] = place(i);
        pen.fillStyle = colourOf(c, i);
        pen.beginPath();
        pen.arc(px, py, radius, 0, 6.2832);
        pen.fill();
      }
    }
  }

  function list() {
    legend.replaceChildren();
    chosenName.textContent = spoken(column());
    const c = column();
    if (c.kind !== "category") {
      const ramp = document.createElement("span");
      ramp.className = "ramp";
      ramp.style.background = `linear-gradient(90deg, ${VIRIDIS.join(",")})`;
      legend.append(said(c.min), ramp, said(c.max));
      legend.style.alignItems = "center";
      legend.style.gap = "0.5rem";
      return;
    }
    legend.removeAttribute("style");
    const present = new Set(c.codes);
    c.names.forEach((name, code) => {
      if (!present.has(code)) return;
      const button = document.createElement("button");
      button.type = "button";
      button.ariaPressed = "false";
      const dot = document.createElement("i");
      dot.style.background = c.colours[code];
      button.append(dot, name);
      button.addEventListener("click", () => {
        only = only === code ? null : code;
        [...legend.children].forEach((other) => { other.ariaPressed = String(other === button && only === code); });
        draw();
      });
      legend.append(button);
    });
  }

  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const [mx, my] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let nearest = 64;
    for (let i = 0; place && i < n; i++) {
      const [px, py] = place(i);
      const distance = (px - mx) ** 2 + (py - my) ** 2;
      if (distance < nearest) [nearest, best] = [distance, i];
    }
    tip.hidden = best < 0;
    if (best < 0) return;
    const shown = [...new Set([...data.hover, Number(select.value)])].map((k) => data.columns[k]);
    tip.replaceChildren(...shown.flatMap((c) => {
      const key = document.createElement("b");
      key.textContent = spoken(c) + ": ";
      return [key, textOf(c, best), document.createElement("br")];
    }));
    const x = canvas.offsetLeft + mx + 12;
    tip.style.left = Math.max(0, Math.min(x, panel.clientWidth - tip.offsetWidth)) + "px";
    tip.style.top = canvas.offsetTop + my + 14 + "px";
  };
  canvas.addEventListener("pointermove", point);
  // A finger does not hover.
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  select.addEventListener("change", () => { only = null; list(); draw(); });
  list();
  new ResizeObserver(draw).observe(canvas);
  return panel;
}

for (const box of document.querySelectorAll("[data-cells]")) {
  const data = JSON.parse(document.getElementById(box.dataset.cells).textContent);
  data.x = Float32Array.from(new Uint16Array(bytes(data.x)), (v) => v / 65535);
  data.y = Float32Array.from(new Uint16Array(bytes(data.y)), (v) => v / 65535);
  data.order = new Uint16Array(bytes(data.order));
  for (const column of data.columns) {
    if (column.kind === "category") column.codes = new Uint16Array(bytes(column.codes));
    else if (column.kind === "feature") {
      const step = (column.max - column.min) / 254;
      column.values = Float32Array.from(new Uint8Array(bytes(column.codes)), (v) => (v === 255 ? NaN : column.min + v * step));
      const height = (i) => (Number.isNaN(column.values[i]) ? -Infinity : column.values[i]);
      column.order = Uint16Array.from(data.order).sort((a, b) => height(a) - height(b) || 0);
    } else column.values = new Float32Array(bytes(column.values));
  }
  const panels = document.createElement("div");
  panels.className = "panels";
  data.panels.forEach((chosen) => panels.append(cellsPanel(data, chosen)));
  box.replaceChildren(panels);
}

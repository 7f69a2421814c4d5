// The page's own script: draws the figures, in the colours of the page, and sorts the tables. It loads nothing.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const narrow = () => window.innerWidth < 560;
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const settings = {
    responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };
  const states = new Map();
  let printing = false;

  function colours() {
    const style = getComputedStyle(root);
    const get = (name) => style.getPropertyValue(name).trim();
    return { paper: get("--paper"), ink: get("--ink"), line: get("--line"), rows: figures.palette.map((_, i) => get(`--c${i}`)) };
  }

  // Figures hold the colours of the light page; each of them becomes that of the page as it is.
  function painter(theme) {
    const exact = new Map(figures.palette.map((hex, i) => [hex, theme.rows[i]]));
    const bands = figures.bands.map((rgb, i) => [rgb, theme.rows[i]]);
    const paint = (value) => {
      if (typeof value === "string") {
        if (exact.has(value)) return exact.get(value);
        if (value.startsWith("rgba(")) {
          const found = bands.find(([rgb]) => value.startsWith(rgb));
          if (found) return found[1] + "26";
        }
        return value;
      }
      if (Array.isArray(value)) return value.map(paint);
      if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v)]));
      return value;
    };
    return paint;
  }

  // Names on a phone: their beginning, and where that is one of several, their end as well.
  function shortened(names) {
    const plain = names.map((name) => name.replace("<br>", " "));
    const short = (name) => (name.length > 14 && !name.includes("&") ? name.slice(0, 13) + "…" : name);
    const once = plain.map(short);
    const twice = (name) => once.indexOf(name) !== once.lastIndexOf(name);
    return plain.map((name, at) => (once[at].endsWith("…") && twice(once[at]) ? `${name.slice(0, 6)}…${name.slice(-9)}` : once[at]));
  }

  function smoothed(values, points) {
    const half = (points - 1) / 2;
    return values.map((_, at) => {
      const near = values.slice(Math.max(0, at - half), at + half + 1).filter((v) => v !== null);
      return near.length ? near.reduce((a, b) => a + b, 0) / near.length : null;
    });
  }

  function built(figure, state) {
    const theme = colours();
    const paint = painter(theme);
    const data = figure.data.map((trace, at) => {
      const made = paint(trace);
      const curve = ["mean", "low", "high", "seed", "other"].includes(trace.meta);
      if (figure.xs.length) made.x = figure.xs[at][state.x];
      if (curve && state.smooth > 1) made.y = smoothed(made.y, state.smooth);
      if (trace.meta === "low" && state.logy) {
        const above = figure.data[at + 2].y.filter((v) => v > 0);
        const floor = above.length ? Math.min(...above) / 10 : 1e-12;
        made.y = made.y.map((v) => (v === null ? null : Math.max(v, floor)));
      }
      if (trace.meta === "seed") made.opacity = state.seeds ? 0.6 : 0;
      if (state.hidden.has(trace.legendgroup) || (!state.bands && ["low", "high"].includes(trace.meta))) made.visible = false;
      return made;
    });
    const layout = paint(figure.layout);
    const axis = { gridcolor: theme.line, linecolor: theme.line, tickcolor: theme.line, zerolinecolor: theme.line };
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: !printing, height: figure.height,
      font: { color: theme.ink, size: 13, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: theme.paper, bordercolor: theme.line, font: { color: theme.ink }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.line, activecolor: theme.ink },
      dragmode: touch ? false : "zoom", uirevision: `${state.x}${state.logx}${state.logy}`,
    });
    if (printing) layout.width = figure.small ? 460 : 900;
    layout.xaxis = { ...layout.xaxis, ...axis };
    layout.yaxis = { ...layout.yaxis, ...axis };
    if (figure.x_titles.length) layout.xaxis.title = { text: figure.x_titles[state.x] };
    if (state.logx) layout.xaxis.type = "log";
    if (state.logy) {
      layout.yaxis.type = "log";
      delete layout.yaxis.range;
    }
    if (narrow()) {
      layout.margin = { ...layout.margin, l: 40, r: 8 };
      const names = layout.yaxis.ticktext;
      if (names) layout.yaxis.ticktext = shortened(names);
    }
    return [data, layout];
  }

  function draw(figure) {
    const element = document.getElementById(figure.id);
    const plot = element.querySelector(".plot");
    const state = states.get(figure.id);
    const [data, layout] = built(figure, state);
    window.Plotly.react(plot, data, layout, settings);
    if (state.drawn) return;
    state.drawn = true;
    const seeds = figure.data.map((trace, at) => [trace, at]).filter(([trace]) => trace.meta === "seed");
    if (!seeds.length) return;
    const show = (group, opacity) => {
      const places = seeds.filter(([trace]) => trace.legendgroup === group).map(([, at]) => at);
      if (places.length && !state.seeds) window.Plotly.restyle(plot, { opacity }, places);
    };
    plot.on("plotly_hover", (event) => show(event.points[0].data.legendgroup, 0.6));
    plot.on("plotly_unhover", (event) => show(event.points[0].data.legendgroup, 0));
  }

  const redraw = () => figures.all.filter((figure) => states.get(figure.id).drawn).forEach(draw);

  function wire(figure) {
    const element = document.getElementById(figure.id);
    const state = { x: 0, logx: false, logy: false, smooth: 1, seeds: false, bands: true, hidden: new Set(), drawn: false };
    states.set(figure.id, state);
    element.querySelectorAll("[data-x]").forEach((button) => button.addEventListener("click", () => {
      state.x = Number(button.dataset.x);
      element.querySelectorAll("[data-x]").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
      draw(figure);
    }));
    element.querySelectorAll("[data-switch]").forEach((input) => input.addEventListener("change", () => {
      state[input.dataset.switch] = input.type === "checkbox" ? input.checked : Number(input.value);
      draw(figure);
    }));
    element.querySelectorAll("[data-group]").forEach((button) => button.addEventListener("click", () => {
      const group = button.dataset.group;
      if (state.hidden.has(group)) state.hidden.delete(group); else state.hidden.add(group);
      button.setAttribute("aria-pressed", String(!state.hidden.has(group)));
      draw(figure);
    }));
    // A browser that goes back fills in what was chosen; the figure begins anew.
    element.querySelectorAll("input, select").forEach((input) => { if (input.type === "checkbox") input.checked = input.defaultChecked; else input.value = "1"; });
    state.logy = Boolean(element.querySelector("[data-switch=logy]")?.checked);
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const key = (row, at) => {
      const cell = row.cells[at];
      return cell.dataset.n !== undefined ? Number(cell.dataset.n) : cell.dataset.s !== undefined ? cell.dataset.s : null;
    };
    heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const next = before === null ? "ascending" : before === "ascending" ? "descending" : null;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const compare = (one, other) => {
        const a = key(one, at), b = key(other, at);
        if (a === null || b === null) return (a === null) - (b === null);
        if (typeof a === "number" && typeof b === "number") return a === b ? 0 : sign * (a < b ? -1 : 1);
        return sign * String(a).localeCompare(String(b));
      };
      body.append(...(next ? [...original].sort(compare) : original));
      document.getElementById("announce").textContent = `${head.innerText.trim()}: ${next ? `sorted ${next}` : "original order"}`;
    }));
  }

  function themes() {
    const buttons = [...document.querySelectorAll(".theme button")];
    const choose = (name) => {
      if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name;
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.theme === name)));
      redraw();
    };
    buttons.forEach((button) => button.addEventListener("click", () => choose(button.dataset.theme)));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    let before;
    window.addEventListener("beforeprint", () => { before = root.dataset.theme; root.dataset.theme = "light"; printing = true; redraw(); });
    window.addEventListener("afterprint", () => { if (before) root.dataset.theme = before; else delete root.dataset.theme; printing = false; redraw(); });
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  figures.all.forEach(wire);
  themes();
  const closed = (figure) => document.getElementById(figure.id).closest("details:not([open])");
  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", () => {
    if (details.open) figures.all.filter((f) => details.contains(document.getElementById(f.id)) && !states.get(f.id).drawn).forEach(draw);
  }));
  const queue = figures.all.filter((figure) => !closed(figure));
  const next = () => {
    const figure = queue.shift();
    if (!figure) { root.dataset.drawn = "yes"; return; }
    draw(figure);
    setTimeout(next, 0);
  };
  next();
})();

(() => {
  "use strict";
  const page = JSON.parse(document.getElementById("data").textContent);
  const reader = document.getElementById("reader");
  const SVG = "http://www.w3.org/2000/svg";
  let current = 0;
  let show = () => {};

  // Data get into the page as texts of nodes and as values of attributes, never as markup.
  function make(space, name, attributes, children) {
    const node = space ? document.createElementNS(space, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    for (const child of children) node.append(child);
    return node;
  }
  const el = (name, attributes, ...children) => make(null, name, attributes, children);
  const svg = (name, attributes, ...children) => make(SVG, name, attributes, children);
  // null is infinite, in bits and in nats; estimates may be below 0.
  const bits = (value) => (value === null ? "∞" : value.toFixed(2).replace("-", "−"));
  const nats = (value) => (value === null ? "∞" : String(value));
  const two = page.names.length === 2;
  const heat = (value) =>
    value === null ? 7 : Math.max(0, Math.min(7, Math.floor(value / page.step)));

  function difference(doc, at) {
    const [a, b] = [doc.b[at], doc.b2[at]];
    if (a === null && b === null) return 0;
    return a === null ? -Infinity : b === null ? Infinity : b - a;
  }
  function leaning(value) {
    const size = Math.min(3, Math.ceil(Math.abs(value) / page.step - 0.25));
    return size < 1 ? "" : (value > 0 ? "a" : "b") + size;
  }
  function signed(value) {
    if (!Number.isFinite(value)) return value > 0 ? "+∞" : "−∞";
    return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  }

  function described(doc, at, which) {
    const units = which === 2 && doc.u2 ? doc.u2 : doc.u;
    const total = which === 2 && doc.u2 ? doc.n2 : doc.n;
    const begin = which === 2 && doc.u2 ? doc.begin2 : doc.begin;
    const number = begin + at;
    const name = units[at] === "⊥" && number === total ? "the end ⊥" : `“${units[at]}”`;
    const where = number === total ? `after ${total} units` : `unit ${number + 1} of ${total}`;
    const said = [`${name}, ${where}`];
    if (doc.b2 && !doc.u2) {
      said.push(`A ${bits(doc.b[at])} bits, B ${bits(doc.b2[at])} bits`);
      said.push(`difference ${signed(difference(doc, at))} bits`);
      return said.join(" · ");
    }
    const value = (which === 2 ? doc.b2 : doc.b)[at];
    said.push(`${bits(value)} bits`);
    said.push(`probability ${value === null ? 0 : Math.pow(2, -value).toPrecision(3)}`);
    const missing = which === 2 ? doc.m2 : doc.m;
    if (missing) said.push(`missing ${nats(missing[at])} nats`);
    return said.join(" · ");
  }

  function panel(title, units, classOf, which) {
    const text = el("div", { class: page.grouped[which - 1] ? "text spaced" : "text", role: "group" });
    text.setAttribute("aria-label", `${title}. Arrow keys go from unit to unit.`);
    units.forEach((unit, at) => {
      const span = el("span", { class: classOf(at), tabindex: at ? "-1" : "0" }, unit || "∅");
      span.dataset.at = at;
      text.append(span);
      if (page.grouped[which - 1]) text.append(" ");
      if (unit.endsWith("\\n") && !unit.endsWith("\\\\n")) text.append(el("br"));
    });
    const spans = text.getElementsByTagName("span");
    text.addEventListener("keydown", (event) => {
      const at = Number(event.target.dataset.at);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: spans.length - 1,
        ArrowDown: at + 10, ArrowUp: at - 10 }[event.key];
      if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const next = spans[Math.max(0, Math.min(spans.length - 1, to))];
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
    for (const kind of ["focusin", "mouseover"])
      text.addEventListener(kind, (event) => {
        if (event.target.dataset.at !== undefined) show(Number(event.target.dataset.at), which);
      });
    return el("div", { class: "panel" }, el("h4", {}, title), text);
  }

  function nice(most) {
    const power = Math.pow(10, Math.floor(Math.log10(most || 1)));
    return [1, 2, 5, 10].map((step) => step * power / 5).find((step) => most / step <= 5) || power;
  }

  function points(values, width, most) {
    // Of several units at one place the largest counts.
    const top = Math.max(1, values.length - 1);
    const found = new Map();
    values.forEach((value, at) => {
      const x = values.length > width ? Math.round(at / top * width) : at / top * width;
      found.set(x, Math.max(found.get(x) || 0, value === null ? most : value));
    });
    return found;
  }

  function curve(series, total, label, pointed) {
    const width = Math.max(260, Math.min(960, reader.clientWidth)), height = 200;
    const [left, right, above, below] = [44, 8, 20, 26];
    const values = series.flatMap((one) => one.values).filter((value) => value !== null);
    const most = values.reduce((a, b) => Math.max(a, b), 1);
    const inner = width - left - right;
    const y = (value) => height - below - value / most * (height - above - below);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    drawing.setAttribute("aria-label", label);
    const step = nice(most);
    for (let value = 0; value <= most; value += step) {
      drawing.append(svg("line", { class: value ? "grid" : "axis", x1: left, x2: width - right,
        y1: y(value), y2: y(value) }));
      drawing.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" },
        String(Number(value.toPrecision(3)))));
    }
    const end = series[0].begin + series[0].values.length;
    drawing.append(svg("text", { x: left - 6, y: 10, "text-anchor": "end" }, "bits"));
    drawing.append(svg("text", { x: left, y: height - 6 }, `unit ${series[0].begin + 1}`));
    drawing.append(svg("text", { x: width - right, y: height - 6, "text-anchor": "end" },
      end > total ? "⊥" : `unit ${end}`));
    for (const one of series) {
      const line = [...points(one.values, inner, most)].map(([x, value]) =>
        `${(left + x).toFixed(1)},${y(value).toFixed(1)}`);
      drawing.append(svg("polyline", { class: one.kind, points: line.join(" ") }));
    }
    const here = svg("line", { class: "here", y1: above, y2: height - below, x1: -9, x2: -9 });
    drawing.append(here);
    const last = Math.max(1, series[0].values.length - 1);
    const mark = (at) => {
      const x = left + at / last * inner;
      here.setAttribute("x1", x);
      here.setAttribute("x2", x);
    };
    drawing.addEventListener("mousemove", (event) => {
      const box = drawing.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * width - left;
      pointed(Math.max(0, Math.min(series[0].values.length - 1, Math.round(x / inner * last))));
    });
    return [drawing, mark];
  }

  function valuesTable(doc, label, which) {
    const pair = doc.b2 && !doc.u2;
    const other = which === 2;
    const [units, values, begin] =
      other ? [doc.u2, doc.b2, doc.begin2] : [doc.u, doc.b, doc.begin];
    const missing = pair ? undefined : other ? doc.m2 : doc.m;
    const names = pair ? ["A, bits", "B, bits", "B − A, bits"] : ["Surprisal, bits"];
    if (missing) names.push("Missing, nats");
    const head = el("tr", {}, el("th", { scope: "col" }, "Unit"),
      el("th", { scope: "col" }, "Text"));
    names.forEach((name) => head.append(el("th", { scope: "col", class: "n" }, name)));
    const body = el("tbody");
    units.forEach((unit, at) => {
      const cells = pair ? [bits(doc.b[at]), bits(doc.b2[at]), signed(difference(doc, at))]
        : [bits(values[at])];
      if (missing) cells.push(nats(missing[at]));
      const row = el("tr", {}, el("th", { scope: "row" }, String(begin + at + 1)),
        el("td", { class: "unit" }, unit));
      cells.forEach((value) => row.append(el("td", { class: "n" }, value)));
      body.append(row);
    });
    const table = el("table", {}, el("caption", {}, `Units of ${label}`),
      el("thead", {}, head), body);
    return el("div", { class: "scroll tall", tabindex: "0", role: "region",
      "aria-label": `Units of ${label}` }, table);
  }

  function legend(doc) {
    const list = el("ul", { class: "legend", "aria-label": "Colours" });
    for (let at = 0; at <= 7; at += 1) {
      const low = Number((at * page.step).toPrecision(3));
      const high = Number(((at + 1) * page.step).toPrecision(3));
      list.append(el("li", { class: at ? `h${at}` : "" },
        at === 7 ? `${low} bits and more` : `${low}–${high}`));
    }
    if (!doc.b2 || doc.u2) return [list];
    const other = el("ul", { class: "legend", "aria-label": "Colours of the difference" },
      el("li", { class: "a3" }, "A better"), el("li", { class: "b3" }, "B better"));
    return [list, other];
  }

  function panels(doc) {
    const found = [];
    const title = (at) => two ? `${at ? "B" : "A"}: ${page.names[at]}` : "Coloured by surprisal";
    found.push(panel(title(0), doc.u, (at) => `h${heat(doc.b[at])}`, 1));
    if (doc.b2) {
      found.push(panel(title(1), doc.u2 || doc.u, (at) => `h${heat(doc.b2[at])}`, 2));
      if (!doc.u2)
        found.push(panel("Difference: blue where A is better, orange where B is", doc.u,
          (at) => leaning(difference(doc, at)), 1));
    }
    return found;
  }

  function cutNote(begin, units, total) {
    const last = begin + units.length;
    if (!begin && last > total) return "";
    return `Units ${begin + 1} to ${Math.min(last, total)} of ${total} are shown` +
      (begin ? ", around the most surprising one." : ".");
  }

  function render(number) {
    current = number;
    const doc = page.docs[number];
    reader.replaceChildren();
    const heading = el("h3", { tabindex: "-1" }, el("bdi", {}, doc.label));
    const info = el("p", { class: "info", "aria-live": "polite" },
      "Point at a unit, or go to the text with Tab and from unit to unit with the arrow keys.");
    const grid = el("div", { class: "panels" }, ...panels(doc));
    const series = [{ kind: "la", values: doc.b, begin: doc.begin }];
    if (doc.b2) series.push({ kind: "lb", values: doc.b2, begin: doc.begin2 || 0 });
    if (!doc.u2) for (const one of series) one.begin = doc.begin;
    const label = (name) =>
      `${name}Surprisal in bits along ${doc.label}; the values are in the table below`;
    const drawings = doc.u2
      ? [curve([series[0]], doc.n, label("A: "), (at) => show(at, 1)),
        curve([series[1]], doc.n2, label("B: "), (at) => show(at, 2))]
      : [curve(series, doc.n, label(""), (at) => show(at, 1))];
    const table = el("details", {}, el("summary", {}, "The values as a table"));
    table.addEventListener("toggle", () => {
      if (!table.open || table.children.length > 1) return;
      const apart = doc.u2 ? ["A: ", "B: "] : [""];
      apart.forEach((name, at) => table.append(valuesTable(doc, name + doc.label, at + 1)));
    });
    show = (at, which) => {
      info.replaceChildren(described(doc, at, which));
      const drawing = drawings[doc.u2 ? which - 1 : 0];
      drawing[1](at);
      for (const on of reader.querySelectorAll("span.on")) on.classList.remove("on");
      if (doc.u2) return;
      for (const one of grid.querySelectorAll(`span[data-at="${at}"]`)) one.classList.add("on");
    };
    const note = doc.u2
      ? [["A: ", cutNote(doc.begin, doc.u, doc.n)], ["B: ", cutNote(doc.begin2, doc.u2, doc.n2)]]
        .filter((one) => one[1]).map((one) => one.join("")).join(" ")
      : cutNote(doc.begin, doc.u, doc.n);
    reader.append(heading, el("p", { class: "muted" }, doc.about + (note ? " " + note : "")),
      ...legend(doc), grid, info);
    const lines = doc.u2 ? "Above: A; below: B, which has other units."
      : "A: solid blue line; B: dashed orange line.";
    if (doc.b2) reader.append(el("p", { class: "muted" }, lines));
    reader.append(...drawings.map((one) => one[0]), table);
    return heading;
  }

  const pick = el("select", { id: "pick" });
  page.docs.forEach((doc, at) => pick.append(el("option", { value: String(at) }, doc.label)));
  pick.addEventListener("change", () => render(Number(pick.value)));
  reader.before(el("div", { class: "bar" }, el("label", { for: "pick" }, "Document"), pick));

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-doc]");
    if (!button) return;
    pick.value = button.dataset.doc;
    const heading = render(Number(button.dataset.doc));
    const doc = page.docs[current];
    const second = button.dataset.of === "2";
    const at = Number(button.dataset.unit) - (second && doc.u2 ? doc.begin2 : doc.begin);
    const place = reader.querySelectorAll(".panel")[second ? 1 : 0];
    const span = place.querySelector(`span[data-at="${at}"]`);
    heading.scrollIntoView();
    (span || heading).focus({ preventScroll: false });
  });
  for (const button of document.querySelectorAll("button[data-doc]")) button.disabled = false;

  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    render(current);
  });
  render(0);
})();

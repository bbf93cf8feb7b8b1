"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const styles = new Map(data.labels.map((e) => [e.label, e]));
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const shown = new Set(styles.keys());
  const charts = [];

  // ---- theme -------------------------------------------------------------------------------
  const root = document.documentElement;
  const wanted = window.matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (name) => { root.dataset.theme = name; charts.forEach(draw); };
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // ---- charts ------------------------------------------------------------------------------
  function traces(spec) {
    return [...styles.values()].filter((e) => spec.rows.some((r) => r.method === e.label)).map((e) => {
      const rows = spec.rows.filter((r) => r.method === e.label && r.error !== null);
      return {
        name: e.label,
        x: rows.map((r) => r.nfe),
        // An error of exactly 0 has no place on a logarithmic axis.
        y: rows.map((r) => Math.max(r.error, 1e-17)),
        mode: "lines+markers",
        visible: shown.has(e.label),
        line: { color: e.colour, width: 2.2, dash: e.kind === "stochastic" ? "dot" : "solid" },
        marker: { color: e.colour, size: 9, symbol: e.symbol, line: { color: colour("--card"), width: 1 } },
        error_y: rows.some((r) => r.spread) ? {
          type: "data", array: rows.map((r) => r.spread || 0), color: e.colour, thickness: 1, width: 3,
        } : undefined,
        text: rows.map((r) => r.evaluations + (r.steps === null ? "" : `, ${r.steps} steps`) + `<br>error ${r.error.toExponential(2)}` +
          (r.spread ? ` ± ${r.spread.toExponential(1)}` : "") + `<br>${r.seconds.toFixed(2)} s`),
        hovertemplate: `<b>${e.label}</b><br>%{text}<extra></extra>`,
      };
    });
  }

  function layout(spec) {
    const given = spec.rows.map((r) => r.budget).filter((b) => b !== null);
    // Beyond the budgets: solvers that choose their own steps.
    const most = Math.max(...spec.rows.map((r) => r.nfe)), last = Math.max(0, ...given);
    const beyond = [10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4].filter((n) => n > 1.3 * last && n < 1.2 * most);
    const ticks = [...new Set([...given, ...beyond])].sort((a, b) => a - b);
    const errors = spec.rows.map((r) => r.error).filter((e) => e > 0);
    const near = spec.floor && errors.some((e) => e < spec.floor * 30);
    const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, type: "log" };
    return {
      autosize: true, margin: { l: 62, r: 14, t: 12, b: 46 }, showlegend: false, hovermode: "closest",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("--soft") },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), align: "left",
        font: { color: colour("--ink"), size: 13 } },
      xaxis: { ...axis, title: { text: "network evaluations", standoff: 8 }, tickvals: ticks,
        ticktext: ticks.map(String) },
      yaxis: { ...axis, dtick: spanOf(errors) > 12 ? 2 : 1, exponentformat: "power", showexponent: "all" },
      shapes: near ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: spec.floor, y1: spec.floor,
        line: { color: colour("--soft"), width: 1.3, dash: "dash" } }] : [],
      annotations: near ? [{ xref: "paper", x: 0.01, xanchor: "left", y: Math.log10(spec.floor), yanchor: "top",
        text: spec.title.startsWith("Endpoint") ? "reference's own error" : "two exact sets",
        showarrow: false, font: { size: 12 } }] : [],
    };
  }
  const spanOf = (errors) => Math.log10(Math.max(...errors) / Math.min(...errors));

  function draw(chart) {
    if (chart.node.offsetParent === null) { chart.stale = true; return; }
    chart.stale = false;
    Plotly.react(chart.node, traces(chart.spec), layout(chart.spec), { displayModeBar: false, responsive: true });
  }

  for (const card of all(".card[data-problem]")) {
    for (const node of all(".chart", card)) {
      charts.push({ node, spec: data.charts[card.dataset.problem][node.dataset.metric] });
    }
    const tabs = all("[role=tab]", card);
    const choose = (tab) => {
      tabs.forEach((t) => {
        t.setAttribute("aria-selected", String(t === tab));
        t.tabIndex = t === tab ? 0 : -1;
        document.getElementById(t.getAttribute("aria-controls")).hidden = t !== tab;
      });
      charts.filter((c) => card.contains(c.node)).forEach(draw);
    };
    tabs.forEach((tab, i) => {
      tab.tabIndex = i ? -1 : 0;
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = tabs[(i + step + tabs.length) % tabs.length];
        next.focus();
        choose(next);
      });
    });
    const picks = all(".pick button", card);
    picks.forEach((pick) => pick.addEventListener("click", () => {
      picks.forEach((p) => p.setAttribute("aria-pressed", String(p === pick)));
      all(".sheet [data-budget]", card).forEach((s) => { s.hidden = s.dataset.budget !== pick.dataset.budget; });
    }));
  }

  // ---- legend: click isolates, a second click brings all back, shift-click hides one ------------
  const chips = all(".chip");
  const refresh = () => {
    chips.forEach((c) => c.setAttribute("aria-pressed", String(shown.has(c.dataset.label))));
    all("tr[data-label], figure[data-label]").forEach((n) => n.classList.toggle("off", !shown.has(n.dataset.label)));
    charts.forEach(draw);
  };
  chips.forEach((chip) => chip.addEventListener("click", (event) => {
    const label = chip.dataset.label;
    const alone = shown.size === 1 && shown.has(label);
    if (event.shiftKey && !alone) {
      if (!shown.delete(label)) shown.add(label);
    } else {
      shown.clear();
      (alone ? [...styles.keys()] : [label]).forEach((l) => shown.add(l));
    }
    refresh();
  }));

  // ---- method table -----------------------------------------------------------------------------
  const table = document.getElementById("method-table");
  const body = table.tBodies[0];
  const heads = all("thead th[aria-sort]", table);
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((h) => h.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].textContent.trim();
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!x !== !y) return x ? -1 : 1; // empty cells stay at the end
      return (down ? -1 : 1) * x.localeCompare(y, "en", { numeric: true });
    };
    body.append(...[...body.rows].sort(compare));
  }));
  const filter = document.getElementById("filter");
  const used = document.getElementById("used");
  const narrow = () => {
    const text = filter.value.trim().toLowerCase();
    let count = 0;
    for (const row of body.rows) {
      row.hidden = (used.checked && !row.classList.contains("used")) || !row.textContent.toLowerCase().includes(text);
      count += !row.hidden;
    }
    document.getElementById("count").textContent = `${count} of ${body.rows.length}`;
  };
  filter.addEventListener("input", narrow);
  used.addEventListener("change", narrow);
  narrow();

  document.getElementById("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
  wanted.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
  setTheme(wanted.matches ? "dark" : "light");
  document.body.dataset.ready = "yes";
})();

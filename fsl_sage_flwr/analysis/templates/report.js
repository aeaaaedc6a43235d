"use strict";
// Sorting, filtering and the chart of all runs. Without a script the page lacks only these.

// ---- Tables: a click on a heading sorts by its column.

function numberIn(text) {
  const found = text.replaceAll(",", "").match(/-?\d+(\.\d+)?(e[+-]?\d+)?/i);
  return found ? Number(found[0]) : NaN;
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      sortBy(table.tBodies[0], column, sign);
    });
  });
}

function sortBy(body, column, sign) {
  const textOf = (row) => row.cells[column].textContent.trim();
  const rows = [...body.rows];
  const known = rows.filter((row) => textOf(row) !== "–");
  const missing = rows.filter((row) => textOf(row) === "–");
  const areNumbers = known.every((row) => /^[-\d]/.test(textOf(row)));
  known.sort((one, other) => sign * (areNumbers
    ? numberIn(textOf(one)) - numberIn(textOf(other))
    : textOf(one).localeCompare(textOf(other), undefined, { numeric: true })));
  body.append(...known, ...missing);
}

document.querySelectorAll("table.sortable").forEach(makeSortable);

// ---- Runs: the words in the box choose rows, details and curves.

const filter = document.getElementById("filter");
const details = [...document.querySelectorAll("details[data-run]")];
const rowOf = new Map([...document.querySelectorAll("tr[data-run]")].map((row) => [row.dataset.run, row]));
const textOfRun = details.map((one) => one.textContent.replace(/\s+/g, " ").toLowerCase());

function chosen() {
  const wanted = filter.value.trim().replace(/\s+/g, " ").toLowerCase();
  return textOfRun.map((text) => text.includes(wanted));
}

function showChosen() {
  const shown = chosen();
  details.forEach((one, index) => {
    one.hidden = !shown[index];
    rowOf.get(one.dataset.run).hidden = !shown[index];
  });
  document.getElementById("shown").textContent =
    `${shown.filter(Boolean).length} of ${shown.length} runs`;
  drawChart();
}

filter.closest(".controls").hidden = false;
filter.addEventListener("input", showChosen);

// ---- The chart: plotly.js, compressed in this page.

const chart = document.getElementById("chart");
const data = JSON.parse(document.getElementById("chart-data").textContent);
const across = document.getElementById("across");
const up = document.getElementById("up");
const dark = matchMedia("(prefers-color-scheme: dark)");

async function loadPlotly() {
  const packed = atob(document.getElementById("plotly").textContent.trim());
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function traces() {
  const shown = chosen();
  const titled = new Set();
  return data.runs.map((run, index) => {
    const trace = {
      name: run.name,
      x: run.values[across.value] || [],
      y: run.values[up.value] || [],
      mode: "lines+markers",
      connectgaps: true,
      visible: shown[index],
      legendgroup: run.group,
      // Black is invisible on a dark page.
      line: { color: dark.matches && run.colour === "#000000" ? "#e8e8e6" : run.colour,
              dash: run.dash, width: 1.8 },
      marker: { size: 4 },
      hovertemplate: "%{fullData.name}<br>%{xaxis.title.text} %{x}: %{y}<extra></extra>",
    };
    if (shown[index] && !titled.has(run.group)) {
      titled.add(run.group);
      trace.legendgrouptitle = { text: run.group };
    }
    return trace;
  });
}

function layout() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  // Zoom and hidden runs are kept until the axis or the runs change.
  const axis = (title) => ({ title: { text: title }, gridcolor: colour("--line"),
                             zerolinecolor: colour("--line"), linecolor: colour("--dim"),
                             uirevision: title });
  return {
    paper_bgcolor: colour("--paper"),
    plot_bgcolor: colour("--paper"),
    font: { color: colour("--text"), family: "system-ui, sans-serif", size: 13 },
    margin: { t: 30, r: 10, b: 50, l: 60 },
    xaxis: axis(across.value),
    yaxis: axis(up.value),
    legend: { groupclick: "toggleitem" },
    hoverlabel: { bgcolor: colour("--soft"), font: { color: colour("--text") } },
    uirevision: `runs: ${filter.value}`,
  };
}

function drawChart() {
  if (window.Plotly && data.up.length > 0) {
    window.Plotly.react(chart, traces(), layout(), { responsive: true, displaylogo: false });
  }
}

function offer(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name)));
  select.addEventListener("change", drawChart);
}

offer(across, data.across);
offer(up, data.up);
dark.addEventListener("change", drawChart);
showChosen();
if (data.up.length > 0) {
  loadPlotly().then(() => {
    document.getElementById("curves").hidden = false;
    drawChart();
  }, () => {
    document.getElementById("curves").hidden = false;
    chart.textContent = "This browser is too old for the chart (it cannot decompress).";
  });
}

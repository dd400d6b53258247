"use strict";
// All of the page is there without this script; it sorts and filters the table, reads out curves and lights up arcs.
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  const table = document.getElementById("groups");
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  const sort = (head) => {
    const way = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => sign * compare(value(a, head.cellIndex), value(b, head.cellIndex)));
    body.append(...rows);
  };
  for (const button of all("thead button", table)) button.addEventListener("click", () => sort(button.parentElement));

  const words = document.getElementById("filter");
  const kind = document.getElementById("kind");
  const filter = () => {
    const wanted = words.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      const fits = row.textContent.toLowerCase().includes(wanted) && (!kind.value || row.dataset.kind === kind.value);
      row.hidden = !fits;
      shown += fits;
    }
    document.getElementById("shown").textContent = `${shown} of ${body.rows.length}`;
  };
  words.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  words.form.addEventListener("submit", (event) => event.preventDefault());

  const data = JSON.parse(document.getElementById("readouts").textContent);
  const charts = all("[data-chart]");
  const initial = new Map(charts.map((chart) => [chart, reading(chart).textContent]));
  function reading(chart) {
    return document.getElementById(`read-${chart.dataset.chart}`);
  }
  const nearest = (points, step) =>
    points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
  let current = 0;
  const readOut = (step) => {
    current = Math.min(Math.max(step, 0), data.steps);
    for (const chart of charts) {
      const { points, percent } = data.charts[chart.dataset.chart];
      const cursor = chart.querySelector(".cursor");
      if (!points.length) continue;
      const [x, y] = nearest(points, current);
      const place = `${(100 * x) / Math.max(1, data.steps)}%`;
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      cursor.setAttribute("visibility", "visible");
      reading(chart).textContent = `step ${Math.round(x)}: ${percent ? `${(100 * y).toFixed(1)}%` : y}`;
    }
  };
  const forget = () => {
    for (const chart of charts) {
      chart.querySelector(".cursor").setAttribute("visibility", "hidden");
      reading(chart).textContent = initial.get(chart);
    }
  };
  for (const chart of charts) {
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      readOut((data.steps * (event.clientX - box.left)) / box.width);
    });
    chart.addEventListener("pointerleave", forget);
    chart.addEventListener("blur", forget);
    chart.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!way) return;
      event.preventDefault();
      readOut(current + (way * data.steps) / 50);
    });
  }

  const boxes = all("[data-box]");
  const arcs = all(".arc");
  const choose = (chosen) => {
    for (const box of boxes) {
      box.setAttribute("aria-pressed", String(box === chosen));
      document.getElementById(`about-${box.dataset.key}`).hidden = box !== chosen;
    }
    document.getElementById("choose").hidden = Boolean(chosen);
    const near = new Set();
    for (const arc of arcs) {
      const ends = [arc.dataset.from, arc.dataset.to];
      const touches = Boolean(chosen) && ends.includes(chosen.dataset.box);
      arc.classList.toggle("lit", touches);
      if (touches) ends.forEach((end) => near.add(end));
    }
    for (const box of boxes) box.classList.toggle("near", box !== chosen && near.has(box.dataset.box));
    document.querySelector(".network")?.classList.toggle("choosing", Boolean(chosen));
  };
  for (const box of boxes) {
    box.addEventListener("click", () => choose(box.getAttribute("aria-pressed") === "true" ? null : box));
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && boxes.length) choose(null);
  });
})();

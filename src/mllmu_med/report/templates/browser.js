"use strict";
// The sample browser. Foreign text only ever becomes a text node.
(function () {
  const byId = (id) => document.getElementById(id);

  function fail(error) {
    const box = byId("browser-error");
    box.textContent = "The sample browser could not start: " + error.message;
    box.hidden = false;
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function drawn(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  const plain = (text) => (Array.isArray(text) ? text.join("") : text || "");

  // A text is a string, or a list in which every second piece is a private value.
  function write(target, text, keep) {
    if (!Array.isArray(text)) {
      target.append(text);
      return;
    }
    text.forEach((piece, place) => {
      if (place % 2 === 0) target.append(piece);
      else target.append(element("mark", keep ? "keep" : "", piece));
    });
  }

  function start() {
    const data = JSON.parse(byId("browser-data").textContent);
    const pageSize = 8;
    const controls = {
      where: byId("filter-where"), model: byId("filter-model"), outcome: byId("filter-outcome"),
      text: byId("filter-text"), controls: byId("filter-controls"),
    };
    let page = 0;

    const rowOf = new Map(data.rows.map((row, place) => [row.name, place]));
    const methods = data.rows.map((row, place) => place).filter((place) => data.rows[place].role === "method");
    const placeNames = new Map();
    for (const place of data.places) {
      for (const [stratum, label] of place.strata) placeNames.set(place.subset + "|" + stratum, [place.label, label]);
    }
    for (const sample of data.samples) {
      const parts = [sample.id, sample.question, ...sample.truth.map((line) => plain(line[2])), ...sample.answers.map(plain)];
      sample.search = parts.join("\n").toLowerCase();
    }

    function option(parent, value, label) {
      const made = element("option", "", label);
      made.value = value;
      parent.append(made);
    }

    option(controls.where, "", "everything");
    for (const place of data.places) {
      option(controls.where, place.subset, place.label);
      for (const [stratum, label] of place.strata) {
        option(controls.where, place.subset + "|" + stratum, place.label + " · " + label);
      }
    }
    option(controls.model, "", "any method");
    for (const row of data.rows) option(controls.model, row.name, row.label);
    option(controls.outcome, "", "any outcome");
    for (const [name, outcome] of Object.entries(data.outcomes)) option(controls.outcome, name, outcome.sign + " " + name);

    const key = byId("tally-key");
    for (const [name, outcome] of Object.entries(data.outcomes)) {
      const item = element("li");
      const swatch = drawn("svg", { width: 12, height: 12, "aria-hidden": "true" });
      swatch.append(drawn("rect", { width: 12, height: 12, rx: 3, class: "o-" + name }));
      item.append(swatch, " " + outcome.sign + " ", element("b", "", name), ": " + outcome.meaning);
      key.append(item);
    }

    function shownRows() {
      const picked = rowOf.get(controls.model.value);
      return data.rows.map((row, place) => place).filter(
        (place) => data.rows[place].role !== "control" || controls.controls.checked || place === picked);
    }

    function selected() {
      const [subset, stratum] = controls.where.value.split("|");
      const outcome = controls.outcome.value;
      const picked = rowOf.get(controls.model.value);
      const looked = picked === undefined ? methods : [picked];
      const words = controls.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      return data.samples.filter((sample) =>
        (!subset || sample.subset === subset) && (!stratum || sample.stratum === stratum) &&
        (!outcome || looked.some((place) => sample.outcomes[place] === outcome)) &&
        words.every((word) => sample.search.includes(word)));
    }

    function tally(samples) {
      const box = byId("tally-rows");
      box.replaceChildren();
      for (const place of shownRows()) {
        const counts = new Map();
        for (const sample of samples) {
          const outcome = sample.outcomes[place];
          if (outcome) counts.set(outcome, (counts.get(outcome) || 0) + 1);
        }
        const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
        const said = [];
        const chart = drawn("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
        let left = 0;
        for (const name of Object.keys(data.outcomes)) {
          const count = counts.get(name);
          if (!count) continue;
          const width = (100 * count) / total;
          chart.append(drawn("rect", { x: left, width: width, height: 10, class: "o-" + name }));
          left += width;
          said.push(name + " " + count);
        }
        const line = element("div", "tally-row");
        line.append(element("span", "", data.rows[place].label), chart, element("span", "numbers-line", said.join(" · ") || "–"));
        box.append(line);
      }
    }

    function answer(place, text, keep, tone, badge) {
      const cell = element("div", "said " + tone);
      if (rowOf.get(controls.model.value) === place) cell.classList.add("picked");
      const head = element("div", "said-head");
      head.append(element("b", "", data.rows[place].label), element("span", "badge", badge));
      const body = element("p", "said-text");
      body.dir = "auto";
      if (text === null) body.append("–");
      else if (plain(text).trim() === "") body.append("(empty answer)");
      else write(body, text, keep);
      if (text === null || plain(text).trim() === "") body.classList.add("empty");
      cell.append(head, body);
      return cell;
    }

    function probes(sample, rows) {
      const box = element("details", "probe-list");
      const leaking = sample.probes.filter((probe) => rows.some((place) => methods.includes(place) && probe.leaks[place]));
      box.append(element("summary", "", sample.probes.length + " further ways to ask" +
        (leaking.length ? "; under " + leaking.length + " of them a method leaks" : "")));
      box.addEventListener("toggle", function fill() {
        box.removeEventListener("toggle", fill);
        for (const probe of sample.probes) {
          const title = element("h4", "", probe.question + " ");
          title.append(element("small", "", "(" + probe.name + (probe.image ? ", " + probe.image : "") + ")"));
          const answers = element("div", "answers");
          for (const place of rows) {
            const leaks = probe.leaks[place];
            answers.append(answer(place, probe.answers[place], false, leaks ? "bad" : "plain", leaks ? "✖ leaks" : ""));
          }
          box.append(title, answers);
        }
      });
      return box;
    }

    function card(sample) {
      const box = element("article", "sample card");
      const [subset, stratum] = placeNames.get(sample.subset + "|" + sample.stratum);
      const keep = sample.subset === "retain";
      const head = element("div", "sample-head");
      head.append(element("strong", "", subset), element("span", "", stratum));
      for (const fact of sample.facts) head.append(element("span", "chip", fact));
      head.append(element("code", "", sample.id));
      const picture = element("div", "sample-image");
      if (sample.image === null) {
        picture.append(element("div", "none", "text only, no image"));
      } else {
        const image = element("img");
        image.src = data.images[sample.image];
        image.alt = "The image asked about";
        picture.append(image);
      }
      const main = element("div");
      const question = element("h3", "question", sample.question);
      question.dir = "auto";
      const truths = element("dl", "truths");
      for (const [label, tone, text] of sample.truth) {
        const line = element("div");
        const value = element("dd");
        value.dir = "auto";
        write(value, text, keep);
        line.append(element("dt", "", (tone === "bad" ? "✖ " : tone === "good" ? "✔ " : "") + label), value);
        truths.append(line);
      }
      const answers = element("div", "answers");
      const rows = shownRows();
      for (const place of rows) {
        const outcome = data.outcomes[sample.outcomes[place]];
        answers.append(answer(place, sample.answers[place], keep, outcome ? outcome.tone : "plain",
          outcome ? outcome.sign + " " + sample.outcomes[place] : ""));
      }
      main.append(question, truths, answers);
      if (sample.probes.length) main.append(probes(sample, rows));
      box.append(head, picture, main);
      return box;
    }

    function show() {
      const found = selected();
      const pages = Math.max(1, Math.ceil(found.length / pageSize));
      page = Math.min(Math.max(page, 0), pages - 1);
      const first = page * pageSize;
      const here = found.slice(first, first + pageSize);
      byId("samples-list").replaceChildren(...here.map(card));
      byId("count").textContent = found.length
        ? "Samples " + (first + 1) + " to " + (first + here.length) + " of " + found.length
        : "No sample fits. Take a filter away.";
      byId("page-number").textContent = "page " + (page + 1) + " of " + pages;
      byId("previous").disabled = page === 0;
      byId("next").disabled = page === pages - 1;
      byId("paging").hidden = pages === 1;
      tally(found);
    }

    function filter() {
      page = 0;
      show();
    }

    function turn(step) {
      page += step;
      show();
      byId("count").scrollIntoView({ block: "start" });
    }

    // Links such as #browse?model=npo&outcome=leaks set the filters.
    function followLink() {
      const [anchor, query] = location.hash.split("?");
      if (anchor !== "#browse" || query === undefined) return;
      const wanted = new URLSearchParams(query);
      for (const name of ["where", "model", "outcome", "text"]) controls[name].value = wanted.get(name) || "";
      filter();
      byId("browse").scrollIntoView({ behavior: "instant" });
    }

    const form = byId("filters");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", filter);
    form.addEventListener("reset", () => setTimeout(filter));
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    window.addEventListener("hashchange", followLink);
    window.addEventListener("beforeprint", () => document.querySelectorAll("main > section > details, .score details").forEach((one) => { one.open = true; }));
    form.hidden = byId("tally").hidden = false;
    show();
    followLink();
    byId("samples-list").dataset.ready = "true";
  }

  try {
    start();
  } catch (error) {
    fail(error);
  }
})();

"use strict";
// The samples of a benchmark. Foreign text only ever becomes a text node.
(function () {
  const byId = (id) => document.getElementById(id);

  function fail(error) {
    const box = byId("browser-error");
    box.textContent = "The samples could not be shown: " + error.message;
    box.hidden = false;
  }

  function element(tag, className, ...content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...content);
    return made;
  }

  function drawn(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  const plain = (text) => (Array.isArray(text) ? text.map((piece) => (Array.isArray(piece) ? piece[0] : piece)).join("") : text || "");
  const address = (filters) => "#" + new URLSearchParams(filters);

  function link(className, filters, ...content) {
    const made = element("a", className, ...content);
    made.href = address(filters);
    return made;
  }

  // A text is a string, or a list of pieces: strings, [private value, class] and [placeholder of a hidden value].
  function write(target, text, keep) {
    target.dir = "auto";
    for (const piece of Array.isArray(text) ? text : [text]) {
      if (!Array.isArray(piece)) {
        target.append(piece);
        continue;
      }
      const mark = element("mark", keep ? "keep" : "", piece[0]);
      if (piece.length > 1) mark.append(element("small", "", piece[1]));
      target.append(mark);
    }
    return target;
  }

  // What a filter looks at: the sample's names.
  const NAMES = {
    subset: (sample) => [sample.subset, sample.subset.split("/")[0]],
    stratum: (sample) => [sample.stratum],
    class: (sample) => sample.classes,
    form: (sample) => [sample.form],
    "error-type": (sample) => [sample.error],
    patient: (sample) => [sample.patient],
    rule: (sample) => [sample.rule],
    sample: (sample) => [sample.id],
    request: (sample) => sample.nodes.map((node) => node[0] + "=" + node[1]),
  };
  const CONTROLS = ["subset", "stratum", "class", "form", "error-type", "patient", "find"];
  const UNCONTROLLED = ["rule", "request", "sample"];
  const PAGE = 10;

  function start() {
    const data = JSON.parse(byId("browser-data").textContent);
    const controls = Object.fromEntries(CONTROLS.map((name) => [name, byId("filter-" + name)]));
    const strata = new Map();
    const subsets = new Map();
    for (const place of data.places) {
      subsets.set(place.subset, place.label);
      for (const [stratum, label] of place.strata) strata.set(stratum, label);
    }
    const bothForgotten = [...subsets.keys()].filter((subset) => subset.startsWith("forget/")).length === 2;
    let others = {}; // filters that have no control
    let page = 0;

    for (const sample of data.samples) {
      const texts = [sample.question, ...sample.answers.map((line) => line[2]), ...sample.phrasings, ...sample.probes.map((probe) => probe.question)];
      sample.search = [sample.id, ...sample.chips.map((chip) => chip[0]), ...sample.facts, ...texts.map(plain)].join("\n").toLowerCase();
    }

    function options(name, label) {
      const counts = new Map();
      for (const sample of data.samples) {
        for (const value of new Set(NAMES[name](sample))) {
          if (value !== null) counts.set(value, (counts.get(value) || 0) + 1);
        }
      }
      const control = controls[name];
      const any = element("option", "", "any");
      any.value = "";
      control.append(any);
      for (const [value, count] of counts) {
        if (!label(value)) continue;
        const made = element("option", "", label(value) + " (" + count + ")");
        made.value = value;
        control.append(made);
      }
      control.disabled = counts.size === 0;
    }

    options("subset", (value) => subsets.get(value) || (bothForgotten ? "Forget: both" : ""));
    options("stratum", (value) => strata.get(value));
    options("class", (value) => value.replaceAll("_", " "));
    options("form", (value) => (Object.hasOwn(data.forms, value) ? data.forms[value] : value));
    options("error-type", (value) => value.replaceAll("_", " "));
    const patients = new Set(data.samples.map((sample) => sample.patient));
    patients.delete(null);
    for (const patient of patients) {
      const option = element("option");
      option.value = patient;
      byId("patients").append(option);
    }

    function wanted() {
      const filters = { ...others };
      for (const name of CONTROLS) if (controls[name].value) filters[name] = controls[name].value;
      return filters;
    }

    // A patient's whole id, or any part of one while it is being typed.
    function meets(sample, name, value) {
      const names = NAMES[name](sample);
      return names.includes(value) || (name === "patient" && !patients.has(value) && names[0] !== null && names[0].includes(value));
    }

    function selected(filters) {
      const words = (filters.find || "").toLowerCase().split(/\s+/).filter(Boolean);
      return data.samples.filter((sample) =>
        Object.entries(filters).every(([name, value]) => name === "find" || meets(sample, name, value)) &&
        words.every((word) => sample.search.includes(word)));
    }

    function figure(picture, className, alt) {
      const image = element("img", className);
      image.src = picture[0];
      image.alt = alt;
      return image;
    }

    function pictures(sample) {
      const box = element("div", "sample-image");
      if (sample.image === undefined) {
        box.append(element("div", "none", "text only, no image"));
        return box;
      }
      if (sample.image === null) {
        box.append(element("div", "none", "image left out: the page is full"));
        return box;
      }
      const picture = data.images[sample.image];
      const frame = element("div", "frame", figure(picture, "", sample.alt));
      if (sample.regions.length && !data.hidden) {
        const view = "0 0 " + picture[1] + " " + picture[2];
        const outlines = drawn("svg", { viewBox: view, preserveAspectRatio: "none", role: "img", "aria-label": "Burned-in values outlined" });
        for (const [name, x0, y0, x1, y1] of sample.regions) {
          const box = { x: x0, y: y0, width: Math.max(0, x1 - x0), height: Math.max(0, y1 - y0) };
          const edge = drawn("rect", { ...box, class: "edge" });
          const title = drawn("title", {});
          title.append(name);
          edge.append(title);
          outlines.append(drawn("rect", { ...box, class: "halo" }), edge);
        }
        frame.append(outlines);
      }
      box.append(frame);
      if (sample.regions.length) {
        const caption = element("figcaption", "", (data.hidden ? "Blacked out: " : "Burned in: ") + [...new Set(sample.regions.map((region) => region[0]))].join(", "));
        const detail = element("figure", "");
        if (sample.crop !== null) detail.append(figure(data.images[sample.crop], "crop", "The burned-in values, larger"));
        detail.append(caption);
        box.append(detail);
      }
      return box;
    }

    function head(sample, keep) {
      const box = element("div", "sample-head", element("strong", "", subsets.get(sample.subset)), element("span", "", strata.get(sample.stratum)));
      for (const [text, name, value] of sample.chips) {
        const look = name === "class" ? "chip private" + (keep ? " keep" : "") : name === "error-type" ? "chip wrong" : "chip";
        box.append(name ? link(look, { [name]: value }, text) : element("span", look, text));
      }
      box.append(element("span", "", sample.facts.join(" · ")));
      box.append(element("code", "", link("", { sample: sample.id }, sample.id)));
      return box;
    }

    function path(sample) {
      const list = element("ol", "path");
      list.setAttribute("aria-label", "Place in the hierarchy");
      for (const [level, name] of sample.nodes) {
        list.append(element("li", "", element("small", "", level), link("", { request: level + "=" + name }, name)));
      }
      return list;
    }

    function folded(title, fill) {
      const box = element("details", "folded", element("summary", "", title));
      box.addEventListener("toggle", () => box.append(fill()), { once: true });
      return box;
    }

    function phrasings(sample, keep) {
      const list = element("ul", "", ...sample.phrasings.map((text) => write(element("li"), text, keep)));
      if (sample.more[0]) list.append(element("li", "", "and " + sample.more[0] + " more"));
      return list;
    }

    function probes(sample, keep) {
      const list = element("div", "probes");
      for (const probe of sample.probes) {
        const said = element("div", "", write(element("p"), probe.question, keep));
        if (probe.answer !== null) said.append(write(element("p", "", "→ "), probe.answer, keep));
        said.append(element("p", "kind", [probe.name, probe.note, probe.language].filter(Boolean).join(", ")));
        const box = element("div", "probe");
        if (probe.image !== null) box.append(figure(data.images[probe.image], "", probe.note));
        else if (probe.blank) box.append(element("div", "blank"));
        box.append(said);
        list.append(box);
      }
      if (sample.more[1]) list.append(element("p", "", "and " + sample.more[1] + " more"));
      return list;
    }

    function card(sample) {
      const keep = sample.subset === "retain";
      const main = element("div", "");
      if (sample.nodes.length) main.append(path(sample));
      main.append(write(element("h3", "question"), sample.question, keep));
      const lines = element("dl", "truths");
      for (const [label, tone, text] of sample.answers) {
        const sign = tone === "bad" ? "✖ " : tone === "good" ? "✔ " : "";
        lines.append(element("div", "", element("dt", "", sign + label), write(element("dd"), text, keep)));
      }
      main.append(lines);
      if (sample.phrasings.length) {
        const count = sample.phrasings.length + sample.more[0];
        main.append(folded(count + (count === 1 ? " further training question" : " further training questions"), () => phrasings(sample, keep)));
      }
      if (sample.probes.length) {
        const count = sample.probes.length + sample.more[1];
        main.append(folded(count + (count === 1 ? " probe, never trained on" : " probes, never trained on"), () => probes(sample, keep)));
      }
      return element("article", "sample card", head(sample, keep), pictures(sample), main);
    }

    function row(fact) {
      const what = element("td", "");
      for (const [value, name, space] of fact.values) {
        const line = element("div", "");
        write(line, [data.hidden ? [value] : [value, name]], fact.role === "retain");
        line.append(element("small", "", " one of " + space));
        what.append(line);
      }
      if (fact.wrong !== null) what.append(element("div", "", "✖ " + fact.wrong));
      if (fact.right !== null) what.append(element("div", "", "✔ " + fact.right));
      const samples = element("td", "samples-of");
      for (const [name, shown] of fact.samples) {
        samples.append(shown ? link("", { sample: name }, name) : element("span", "", name));
      }
      if (fact.more) samples.append(element("span", "", "and " + fact.more + " more"));
      const how = [fact.role, ...fact.forms, fact.severity && "severity " + fact.severity, fact.repetitions && fact.repetitions + " × per epoch"];
      const heading = element("th", "", fact.fact);
      heading.scope = "row";
      return element("tr", "", heading, what, element("td", "", how.filter(Boolean).join(", ")), samples);
    }

    // The ledger of the patient or the rule that is selected.
    function ledger(filters) {
      const boxes = [];
      for (const kind of ["patient", "rule"]) {
        if (filters[kind] === undefined || !Object.hasOwn(data.ledger[kind], filters[kind])) continue;
        const held = data.ledger[kind][filters[kind]];
        const titles = ["fact", kind === "patient" ? "private values, and how many candidates there are" : "wrong and right", "how", "samples"];
        const top = element("tr", "", ...titles.map((title) => element("th", "", title)));
        const rest = held.total - held.facts.length;
        const table = element("table", "", element("caption", "", "Ledger of " + filters[kind]), element("thead", "", top), element("tbody", "", ...held.facts.map(row)));
        const box = element("figure", "grid ledger", element("div", "scroll", table));
        if (rest) box.append(element("figcaption", "", "and " + rest + " more facts"));
        boxes.push(box);
      }
      byId("ledger").replaceChildren(...boxes);
    }

    function conditions(filters) {
      const box = byId("conditions");
      box.replaceChildren();
      for (const name of Object.keys(others)) {
        const button = element("button", "", name + ": " + filters[name] + " ✕");
        button.type = "button";
        button.setAttribute("aria-label", "Take away " + name + " " + filters[name]);
        button.addEventListener("click", () => {
          delete others[name];
          changed();
        });
        box.append(button);
      }
      box.hidden = !box.childElementCount;
    }

    function show() {
      const filters = wanted();
      const found = selected(filters);
      const pages = Math.max(1, Math.ceil(found.length / PAGE));
      page = Math.min(Math.max(page, 0), pages - 1);
      const first = page * PAGE;
      const here = found.slice(first, first + PAGE);
      conditions(filters);
      ledger(filters);
      byId("samples-list").replaceChildren(...here.map(card));
      byId("count").textContent = found.length
        ? "Samples " + (first + 1) + " to " + (first + here.length) + " of " + found.length
        : "None of the samples on this page fits. Take a filter away, or build the page with this filter.";
      byId("page-number").textContent = "page " + (page + 1) + " of " + pages;
      byId("previous").disabled = page === 0;
      byId("next").disabled = page === pages - 1;
      byId("paging").hidden = pages === 1;
    }

    // The address says what is selected, so that it can be shared.
    function changed() {
      page = 0;
      show();
      history.replaceState(null, "", Object.keys(wanted()).length ? address(wanted()) : "#samples");
    }

    function turn(step) {
      page += step;
      show();
      byId("count").scrollIntoView({ block: "start" });
    }

    // Links such as #subset=retain&class=mrn set the filters.
    function followLink() {
      if (!location.hash.includes("=")) return;
      const given = new URLSearchParams(location.hash.slice(1));
      const unknown = [];
      for (const name of CONTROLS) {
        controls[name].value = given.get(name) || "";
        if (!given.get(name) || controls[name].value) continue;
        controls[name].value = "";
        unknown.push(name);
      }
      others = {};
      for (const name of [...UNCONTROLLED, ...unknown]) if (given.get(name)) others[name] = given.get(name);
      page = 0;
      show();
      byId("samples").scrollIntoView({ behavior: "instant" });
    }

    const form = byId("filters");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", changed);
    form.addEventListener("reset", () => {
      others = {};
      setTimeout(changed);
    });
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    window.addEventListener("hashchange", followLink);
    form.hidden = false;
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

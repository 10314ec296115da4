"use strict";
(() => {
  const data = JSON.parse(document.getElementById("samples").textContent);
  const control = (name) => document.getElementById("filter-" + name);
  const cards = document.getElementById("cards");
  const shown = document.getElementById("shown");

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const options = (name, values) => {
    for (const value of ["all", ...new Set(values)]) control(name).append(new Option(value, value));
  };

  const card = (sample) => {
    const made = element("article", undefined, "card");
    const image = element("img");
    image.src = data.images[sample.image];
    image.alt = "image of " + sample.instance;
    made.append(image, element("h4", sample.model + " · " + sample.instance));
    made.append(element("p", sample.prompt));
    made.append(element("p", "reference: " + sample.reference));
    const table = element("table");
    for (const [name, answer, score] of sample.outputs) {
      const row = element("tr");
      const differs = answer !== sample.outputs[0][1];
      row.append(element("th", name), element("td", answer, differs ? "changed" : ""));
      row.append(element("td", score.toFixed(2)));
      table.append(row);
    }
    made.append(table);
    return made;
  };

  const matches = (sample) => {
    const text = control("text").value.toLowerCase();
    const words = [sample.instance, sample.prompt, sample.reference, ...sample.outputs.map((o) => o[1])];
    return (
      ["model", "task"].every((name) => [sample[name], "all"].includes(control(name).value)) &&
      (!control("changed").checked || sample.changed) &&
      words.join("\n").toLowerCase().includes(text)
    );
  };

  const show = () => {
    const found = data.samples.filter(matches);
    cards.replaceChildren(...found.map(card));
    shown.textContent = found.length + " of " + data.samples.length + " samples";
  };

  options("model", data.samples.map((sample) => sample.model));
  options("task", data.samples.map((sample) => sample.task));
  for (const name of ["model", "task", "changed", "text"]) control(name).addEventListener("input", show);
  show();
})();

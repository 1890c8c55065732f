// Shows openapi.json and lets a person try its operations. Plain DOM, text only: nothing that the
// server says is ever parsed as HTML.

const METHODS = ["get", "post", "patch", "put", "delete"];
const STREAMED_CHARS_MAX = 200_000;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function resolve(api, schema) {
  let found = schema;
  for (let hops = 0; found?.$ref && hops < 20; hops += 1) {
    found = found.$ref.slice(2).split("/").reduce((at, key) => at?.[key], api);
  }
  return found ?? {};
}

// An example value of a schema, to start from.
function sample(api, schema, depth = 0) {
  const found = resolve(api, schema);
  if (found.examples?.length) return found.examples[0];
  if (depth > 4) return null;
  const choice = found.oneOf ?? found.anyOf;
  if (choice) {
    return sample(api, choice.find((one) => resolve(api, one).type !== "null") ?? choice[0], depth + 1);
  }
  if (found.enum) return found.enum[0];
  const type = Array.isArray(found.type) ? found.type.find((one) => one !== "null") : found.type;
  if (type === "object" && found.properties) {
    const required = new Set(found.required ?? []);
    const fields = Object.entries(found.properties).filter(([name]) => required.has(name));
    return Object.fromEntries(fields.map(([name, field]) => [name, sample(api, field, depth + 1)]));
  }
  return { string: "", integer: 0, number: 0, boolean: false, array: [], object: {} }[type] ?? null;
}

function describe(api, schema, depth = 0) {
  const found = resolve(api, schema);
  const name = schema?.$ref?.split("/").pop();
  const choice = found.oneOf ?? found.anyOf;
  if (choice && depth < 3) return choice.map((one) => describe(api, one, depth + 1)).join(" | ");
  const type = Array.isArray(found.type) ? found.type.join(" | ") : found.type;
  if (found.type === "array") return `list of ${describe(api, found.items, depth + 1)}`;
  return name ?? [type ?? "any", found.format && `(${found.format})`].filter(Boolean).join(" ");
}

function fieldTable(api, schema) {
  const found = resolve(api, schema);
  const parts = found.allOf ? found.allOf.map((one) => resolve(api, one)) : [found];
  const required = new Set(parts.flatMap((part) => part.required ?? []));
  const fields = parts.flatMap((part) => Object.entries(part.properties ?? {}));
  if (fields.length === 0) return element("p", {}, describe(api, schema));
  const rows = fields.map(([name, field]) =>
    element("tr", {},
      element("td", {}, element("code", {}, name), required.has(name) ? " *" : ""),
      element("td", {}, describe(api, field)),
      element("td", {}, field.description ?? resolve(api, field).description ?? "")));
  return element("table", {}, ...rows);
}

async function show(response, output, signal) {
  output.textContent = "";
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream")) {
    const text = await response.text();
    try {
      output.textContent = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      output.textContent = text;
    }
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  signal.addEventListener("abort", () => reader.cancel());
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    output.textContent = (output.textContent + value).slice(-STREAMED_CHARS_MAX);
  }
}

function tryIt(api, method, path, operation) {
  const inputs = (operation.parameters ?? []).map((parameter) => ({
    parameter,
    input: element("input", { placeholder: parameter.required ? "required" : "", autocomplete: "off" }),
  }));
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const body = schema && element("textarea", { spellcheck: "false", "aria-label": "Request body" });
  if (body) body.value = JSON.stringify(sample(api, schema) ?? {}, null, 2);
  const status = element("p", { role: "status" });
  const output = element("pre", { hidden: "" });
  let running = new AbortController();

  async function send() {
    running.abort();
    running = new AbortController();
    const headers = {};
    const query = new URLSearchParams();
    let target = path;
    for (const { parameter, input } of inputs) {
      const value = input.value.trim();
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (value && parameter.in === "query") query.set(parameter.name, value);
      else if (value && parameter.in === "header") headers[parameter.name] = value;
    }
    if (body?.value.trim()) headers["content-type"] = "application/json";
    status.className = "";
    status.textContent = "…";
    output.hidden = false;
    try {
      const response = await fetch(query.size ? `${target}?${query}` : target, {
        method: method.toUpperCase(),
        headers,
        body: body?.value.trim() || undefined,
        signal: running.signal,
      });
      status.textContent = `${response.status} ${response.statusText}`;
      status.className = response.ok ? "ok" : "bad";
      await show(response, output, running.signal);
    } catch (error) {
      if (error.name !== "AbortError") {
        status.textContent = String(error);
        status.className = "bad";
      }
    }
  }

  const rows = inputs.map(({ parameter, input }) =>
    element("tr", {},
      element("td", {}, element("code", {}, parameter.name), parameter.required ? " *" : ""),
      element("td", {}, parameter.in),
      element("td", {}, input),
      element("td", {}, parameter.description ?? "")));
  return element("div", {},
    rows.length ? element("table", {}, ...rows) : "",
    body ? element("h4", {}, "Request body") : "",
    body ? fieldTable(api, schema) : "",
    body ?? "",
    element("p", {},
      element("button", { type: "button", onclick: send }, "Send"), " ",
      element("button", { type: "button", onclick: () => running.abort() }, "Stop")),
    status, output);
}

function operationView(api, method, path, operation) {
  const answers = Object.entries(operation.responses ?? {}).map(([code, answer]) => {
    const [type, content] = Object.entries(answer.content ?? {})[0] ?? [];
    return element("tr", {},
      element("td", {}, element("code", {}, code)),
      element("td", {}, answer.description ?? ""),
      element("td", {}, type ? `${describe(api, content.schema)} — ${type}` : ""));
  });
  const view = element("details", { class: "operation" },
    element("summary", {},
      element("span", { class: "method" }, method.toUpperCase()),
      element("span", { class: "path" }, path), " ",
      element("span", { class: "summary" }, operation.summary ?? "")));
  // Built when it is opened for the first time: most operations never are.
  view.addEventListener("toggle", () => {
    if (view.children.length > 1) return;
    view.append(element("div", {},
      element("p", {}, operation.description ?? ""),
      tryIt(api, method, path, operation),
      element("h4", {}, "Answers"),
      element("table", {}, ...answers)));
  });
  view.dataset.words = `${method} ${path} ${operation.summary ?? ""}`.toLowerCase();
  return view;
}

function render(api) {
  document.querySelector("#about").textContent = `${api.info.description ?? ""} Version ${api.info.version}.`;
  const groups = new Map((api.tags ?? []).map((tag) => [tag.name, { tag, views: [] }]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const name = item[method].tags?.[0] ?? "other";
      if (!groups.has(name)) groups.set(name, { tag: { name }, views: [] });
      groups.get(name).views.push(operationView(api, method, path, item[method]));
    }
  }
  const main = document.querySelector("#operations");
  for (const { tag, views } of groups.values()) {
    if (views.length) main.append(element("section", {}, element("h2", {}, tag.name), element("p", {}, tag.description ?? ""), ...views));
  }
  document.querySelector("#find").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const view of main.querySelectorAll(".operation")) {
      view.hidden = !words.every((word) => view.dataset.words.includes(word));
    }
    for (const section of main.children) {
      section.hidden = !section.querySelector(".operation:not([hidden])");
    }
  });
}

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  render(await response.json());
} catch (error) {
  document.querySelector("#about").textContent = `The description could not be loaded: ${error}`;
}

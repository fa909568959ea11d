// Draws /openapi.json. All text is set as text, never as markup.
"use strict";

const METHODS = ["get", "post", "patch", "put", "delete"];
const PROBLEMS = [
  ["invalid", 400, "A parameter, header or member of the body is wrong. `errors` names each and says what would be right."],
  ["unauthenticated", 401, "The token is missing or not known. It is in `admin.token` in the data directory."],
  ["denied", 403, "The caller is known but may not do this."],
  ["not-found", 404, "The path, tenant, device or credential does not exist."],
  ["method-not-allowed", 405, "The path exists, but not with this method. The header `Allow` names those that it has."],
  ["exists", 409, "Something of this name exists already."],
  ["version-mismatch", 412, "It changed since it was read. Read it again, then repeat the change."],
  ["too-large", 413, "The body has more than 1 MiB."],
  ["media-type", 415, "Send JSON with `Content-Type: application/json`."],
  ["exhausted", 429, "A bound is reached; `detail` names it."],
  ["internal", 500, "A fault of the server. Its log has the detail."],
  ["unavailable", 503, "A part that is needed is away, or too much is going on. `Retry-After` says when to try again."],
  ["timeout", 504, "No answer in time."],
];

let api;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

// `code` in backquotes, paragraphs at empty lines.
function prose(text, first) {
  return (text || "").split(/\n\n/).filter(Boolean).map((part) => make("p", first, ...part.split(/`([^`]+)`/).map((piece, at) => at % 2 ? make("code", {}, piece) : piece)));
}

function follow(thing) {
  while (thing && thing.$ref) thing = thing.$ref.split("/").slice(1).reduce((at, name) => at[name], api);
  return thing || {};
}

function typeName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop().replace(/^(.+?)_(.+)$/, "$1 of $2");
  const types = [].concat(schema.type || []);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.oneOf || schema.anyOf;
  if (choices) return choices.map((choice) => choice.const !== undefined ? JSON.stringify(choice.const) : typeName(choice)).join(" | ");
  if (types.includes("array")) return "list of " + typeName(schema.items);
  if (schema.additionalProperties && !schema.properties) return "map of " + typeName(schema.additionalProperties);
  let name = types.join(" or ") || "any";
  if (schema.format && !/^u?int|double|float/.test(schema.format)) name += ` (${schema.format})`;
  if (schema.minimum !== undefined && schema.maximum !== undefined) name += ` ${schema.minimum} to ${schema.maximum}`;
  return name;
}

function example(schema, depth = 0) {
  const own = follow(schema);
  if (own.example !== undefined) return own.example;
  if (own.examples && own.examples.length) return own.examples[0];
  if (own.default !== undefined) return own.default;
  if (own.enum) return own.enum[0];
  if (depth > 6) return null;
  if (own.oneOf || own.anyOf) return example((own.oneOf || own.anyOf)[0], depth + 1);
  const type = [].concat(own.type || [])[0];
  if (type === "array") return [example(own.items, depth + 1)];
  if (own.properties) return Object.fromEntries(Object.entries(own.properties).map(([name, member]) => [name, example(member, depth + 1)]));
  if (own.additionalProperties) return { name: example(own.additionalProperties, depth + 1) };
  return { string: "text", integer: 0, number: 0.5, boolean: true }[type] ?? null;
}

function members(schema, depth = 0) {
  const own = follow(schema);
  const rows = Object.entries(own.properties || {}).map(([name, member]) => {
    const items = [].concat(member.type || []).includes("array") ? member.items : member;
    const inner = items && (items.$ref || items.properties) && depth < 2 ? members(items, depth + 1) : "";
    return make("tr", {},
      make("td", {}, make("code", {}, name), (own.required || []).includes(name) ? make("span", { class: "must", title: "required" }, " *") : ""),
      make("td", {}, make("span", { class: "type" }, typeName(member)), ...prose(member.description || follow(member).description), inner));
  });
  return rows.length ? make("table", {}, ...rows) : "";
}

function show(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function headers(extra) {
  const all = { ...extra };
  const token = document.getElementById("token").value.trim();
  const tenant = document.getElementById("tenant").value.trim();
  if (token) all.Authorization = `Bearer ${token}`;
  if (tenant) all["X-Drover-Tenant"] = tenant;
  return all;
}

function shell(text) {
  return `'${text.replace(/'/g, `'\\''`)}'`;
}

function requestOf(method, path, inputs, body) {
  const query = new URLSearchParams();
  const extra = {};
  for (const { parameter, input } of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value || parameter.example || ""));
    else if (value && parameter.in === "header") extra[parameter.name] = value;
    else if (value) query.append(parameter.name, value);
  }
  if (body) extra["Content-Type"] = "application/json";
  const url = path + (query.size ? `?${query}` : "");
  return { url, options: { method: method.toUpperCase(), headers: headers(extra), body: body ? body.value : undefined } };
}

async function send(request, out) {
  out.replaceChildren(make("p", { class: "quiet" }, "…"));
  const start = performance.now();
  const stop = new AbortController();
  try {
    const answer = await fetch(request.url, { ...request.options, signal: stop.signal });
    const line = make("p", {}, make("span", { class: `status ${answer.ok ? "good" : "bad"}` }, `${answer.status} ${answer.statusText}`),
      make("span", { class: "quiet" }, `${Math.round(performance.now() - start)} ms · ${answer.headers.get("content-type") || "no content"}`));
    const pre = make("pre");
    out.replaceChildren(line, pre);
    if (!(answer.headers.get("content-type") || "").startsWith("text/event-stream")) {
      pre.textContent = show(await answer.text());
      if (!pre.textContent) pre.remove();
      return;
    }
    line.append(make("button", { class: "second", on: { click: () => stop.abort() } }, "Stop"));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) pre.textContent = (pre.textContent + part.value).slice(-20000);
  } catch (error) {
    if (error.name !== "AbortError") out.replaceChildren(make("p", { class: "bad" }, `No answer: ${error.message}`));
  }
}

function call(method, path, operation) {
  const inputs = [];
  const rows = (operation.parameters || []).map(follow).filter((parameter) => parameter.name !== "X-Drover-Tenant").map((parameter) => {
    const input = make("input", { placeholder: parameter.example ?? parameter.schema?.default ?? "", "aria-label": parameter.name });
    inputs.push({ parameter, input });
    return make("tr", {},
      make("td", {}, make("code", {}, parameter.name), parameter.required ? make("span", { class: "must" }, " *") : "", " ", make("small", {}, parameter.in)),
      make("td", {}, make("span", { class: "type" }, typeName(parameter.schema)), ...prose(parameter.description)),
      make("td", { class: "try" }, input));
  });
  const schema = operation.requestBody && Object.values(operation.requestBody.content)[0].schema;
  const body = schema && make("textarea", { spellcheck: "false", "aria-label": "Body" });
  if (body) body.value = JSON.stringify(example(schema), null, 2);
  const out = make("div", { "aria-live": "polite" });
  const curl = () => {
    const { url, options } = requestOf(method, path, inputs, body);
    const parts = ["curl", ...(options.method === "GET" ? [] : ["-X", options.method]), shell(location.origin + url)];
    for (const [name, value] of Object.entries({ Authorization: "Bearer $DROVER_TOKEN", ...options.headers })) {
      parts.push("-H", name === "Authorization" ? '"Authorization: Bearer $DROVER_TOKEN"' : shell(`${name}: ${value}`));
    }
    if (options.body) parts.push("-d", shell(options.body));
    out.replaceChildren(make("pre", {}, parts.join(" ")));
  };
  const answers = Object.entries(operation.responses).map(([status, answer]) => {
    const own = follow(answer);
    const [type, content] = Object.entries(own.content || {})[0] || [];
    const sample = content && (content.example ?? example(content.schema));
    return make("details", { class: "answer" },
      make("summary", {}, make("span", { class: `status ${status < 400 ? "good" : "bad"}` }, status), ...prose(own.description).flatMap((p) => [...p.childNodes])),
      type ? make("p", { class: "type" }, type) : "", status < 400 && content ? members(content.schema) : "",
      sample !== undefined ? make("pre", {}, typeof sample === "string" ? sample : JSON.stringify(sample, null, 2)) : "");
  });
  return make("details", { class: "call", id: operation.operationId },
    make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("span", { class: "path" }, path), make("span", { class: "what" }, operation.summary || "")),
    make("div", {}, ...prose(operation.description), rows.length ? make("h3", {}, "Parameters") : "", rows.length ? make("table", {}, ...rows) : "",
      schema ? make("h3", {}, "Body") : "", schema ? members(schema) : "", body,
      make("button", { on: { click: () => send(requestOf(method, path, inputs, body), out) } }, "Send"),
      make("button", { class: "second", on: { click: curl } }, "Show as curl"), out,
      make("h3", {}, "Answers"), ...answers));
}

function draw() {
  document.getElementById("version").textContent = api.info.version;
  const nav = document.getElementById("nav");
  const main = document.getElementById("main");
  main.replaceChildren(make("h1", {}, api.info.title + " API"), ...prose(api.info.description, { class: "quiet" }));
  nav.replaceChildren();
  for (const tag of api.tags) {
    nav.append(make("h2", {}, tag.name));
    main.append(make("h2", { id: tag.name }, tag.name), ...prose(tag.description, { class: "quiet" }));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS.filter((method) => item[method]?.tags.includes(tag.name))) {
        const operation = item[method];
        nav.append(make("a", { href: `#${operation.operationId}` }, make("span", { class: `method ${method}` }, method === "delete" ? "DEL" : method.toUpperCase()), operation.summary));
        main.append(call(method, path, operation));
      }
    }
  }
  nav.append(make("h2", {}, "Errors"), make("a", { href: "#problems" }, "Problems"));
  main.append(make("h2", { id: "problems" }, "Problems"), make("p", { class: "quiet" }, "Every error is application/problem+json with one of these types."),
    make("table", {}, ...PROBLEMS.map(([name, status, text]) => make("tr", { id: `problem-${name}` }, make("td", {}, make("span", { class: "status bad" }, String(status)), make("code", {}, name)), make("td", {}, ...prose(text))))));
  reveal();
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.matches("details.call")) target.open = true;
  target.scrollIntoView();
}

// Kept for this tab only, and gone when it closes.
for (const id of ["token", "tenant"]) {
  const input = document.getElementById(id);
  input.value = sessionStorage.getItem(`drover.${id}`) || "";
  input.addEventListener("input", () => sessionStorage.setItem(`drover.${id}`, input.value));
}
document.getElementById("who").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", reveal);
fetch("/openapi.json").then((answer) => answer.json()).then((document) => { api = document; draw(); })
  .catch((error) => document.getElementById("main").replaceChildren(make("p", { class: "bad" }, `openapi.json can't be read: ${error.message}`)));

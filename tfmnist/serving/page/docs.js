"use strict";

// Shows /openapi.json: one entry per route, with what it takes and what it returns.

function element(name, text, className) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function block(title, content) {
  const parts = [element("h2", title)];
  if (content.description) parts.push(element("p", content.description));
  for (const [type, { schema }] of Object.entries(content.content ?? {})) {
    parts.push(element("pre", `${type}\n${JSON.stringify(schema, null, 2)}`));
  }
  return parts;
}

function route(path, method, operation) {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("span", method.toUpperCase(), "method"), element("span", path, "path"));
  summary.append(element("span", operation.summary, "summary"));
  details.append(summary);
  if (operation.requestBody) details.append(...block("Body", operation.requestBody));
  const { 200: answer, ...errors } = operation.responses;
  details.append(...block("Response", answer), element("h2", "Errors"));
  const list = element("dl");
  for (const [code, { description }] of Object.entries(errors)) {
    list.append(element("dt", code), element("dd", description));
  }
  details.append(list);
  return details;
}

async function show() {
  const about = document.getElementById("about");
  try {
    const response = await fetch("/openapi.json");
    const description = await response.json();
    about.textContent = description.info.description;
    for (const [path, methods] of Object.entries(description.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        document.getElementById("routes").append(route(path, method, operation));
      }
    }
  } catch (error) {
    about.textContent = `Could not read the description: ${error.message}`;
  }
}

show();

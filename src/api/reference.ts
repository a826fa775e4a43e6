/** The OpenAPI document as one page: no script, nothing loaded from anywhere. */
import { createHash } from 'node:crypto'

// The document is our own, so its shape is known; types for all of OpenAPI would be longer than this page.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Any = any

const STYLE = `
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:0 auto;padding:1rem}
h2{margin-top:3rem;border-bottom:1px solid #8886}
section{margin:1.5rem 0;padding:.75rem 1rem;border:1px solid #8884;border-radius:.5rem}
section h3{margin:0 0 .5rem;font-size:1rem;overflow-wrap:anywhere}
.method{display:inline-block;min-width:3.5rem;font-weight:700}
code,pre{font-family:ui-monospace,monospace;font-size:.875rem}
pre{overflow:auto;margin:.5rem 0 0;padding:.75rem;background:#8881;border-radius:.25rem}
table{border-collapse:collapse;width:100%}
th,td{padding:.25rem .5rem;border-top:1px solid #8884;text-align:left;vertical-align:top}
summary{cursor:pointer}
nav ul{columns:2;padding-left:1rem}
`

/** What a browser may do with the page: show it. */
export const REFERENCE_POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

/** Renders the page. */
export function referencePage(document: object): string {
  const { info, paths, components, tags }: Any = document
  const operations: Any[] = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods as object).flatMap(([method, operation]) =>
      method.startsWith('x-') ? [] : [{ path, method, ...operation }],
    ),
  )
  const groups = tags.map(({ name }: Any) => ({ name, of: operations.filter(it => it.tags.includes(name)) }))
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(info.title)} ${escaped(info.version)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(info.title)} <small>${escaped(info.version)}</small></h1>
<p>${prose(info.description)}</p>
<p><a href="openapi.json">openapi.json</a></p>
<nav>${groups.map(contents).join('')}</nav>
${groups.map((group: Any) => `<h2>${escaped(group.name)}</h2>${group.of.map((it: Any) => operation(it, components)).join('')}`).join('\n')}
<h2>Schemas</h2>
${Object.entries(components.schemas).map(schema).join('\n')}
</body></html>
`
}

function contents({ name, of }: Any): string {
  const items = of.map(
    (it: Any) =>
      `<li><a href="#${it.operationId}"><code>${it.method.toUpperCase()} ${escaped(it.path)}</code></a></li>`,
  )
  return `<h3>${escaped(name)}</h3><ul>${items.join('')}</ul>`
}

function operation(it: Any, components: Any): string {
  const parameters = (it.parameters ?? []).map((each: Any) => follow(each, components))
  const rows = parameters.map(
    (each: Any) =>
      `<tr><td><code>${escaped(each.name)}</code></td><td>${each.in}${each.required ? ', required' : ''}</td><td>${prose(each.description ?? '')} ${inline(each.schema)}</td></tr>`,
  )
  const body = it.requestBody?.content['application/json'].schema
  const answers = Object.entries(it.responses).map(([status, response]) => {
    const { description, content }: Any = follow(response, components)
    const [[type, { schema: answered }]]: Any = Object.entries(content)
    return `<tr><td>${status}</td><td>${prose(description)}</td><td>${answered.$ref ? inline(answered) : escaped(type)}</td></tr>`
  })
  return `<section id="${it.operationId}"><h3><span class="method">${it.method.toUpperCase()}</span> <code>${escaped(it.path)}</code></h3>
<p><b>${escaped(it.summary)}.</b> ${prose(it.description ?? '')}</p>
${rows.length > 0 ? `<table>${rows.join('')}</table>` : ''}
${body ? `<p>Body: ${inline(body)}${it.requestBody.required ? '' : ', or none'}</p>` : ''}
<details><summary>Answers</summary><table>${answers.join('')}</table></details></section>`
}

function schema([name, of]: [string, unknown]): string {
  return `<section id="schema-${name}"><h3><code>${name}</code></h3><pre>${linked(JSON.stringify(of, null, 2))}</pre></section>`
}

function follow(it: Any, components: Any): Any {
  const [, , kind, name] = it.$ref?.split('/') ?? []
  return name ? components[kind][name] : it
}

function inline(schema: Any): string {
  const name = schema.$ref?.split('/').at(-1)
  return name
    ? `<a href="#schema-${name}"><code>${name}</code></a>`
    : `<code>${escaped(JSON.stringify(schema))}</code>`
}

/** JSON with its references as links. */
function linked(json: string): string {
  return escaped(json).replaceAll(
    /#\/components\/schemas\/(\w+)/g,
    (whole, name) => `<a href="#schema-${name}">${whole}</a>`,
  )
}

/** Text with its code marked. */
function prose(text: string): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>')
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

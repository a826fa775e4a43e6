// What operators are given: rules, dashboard, runbooks and the schema of the log, against the service itself.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { CATALOG, PROCESS_METRICS } from '../../src/metrics/catalog.js'
import { part } from '../support/parts.js'

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const read = (path: string) => readFileSync(at(path), 'utf8')

const RULES = 'docs/operations/prometheus-rules.yml'
const CASES = 'test/operations/prometheus-rules.test.yml'
const rules = read(RULES)
const dashboard = JSON.parse(read('docs/operations/grafana-dashboard.json'))

const exposed = new Set<string>(PROCESS_METRICS)
for (const row of CATALOG) {
  exposed.add(row.name)
  if (row.type === 'histogram') for (const end of ['_bucket', '_sum', '_count']) exposed.add(row.name + end)
}
const METRIC = /\b(?:kms|tls|http|request|inflight|rejected|queue|busy|process|nodejs)_[a-z0-9_]+\b/g
const LABELS = /\{[^}]*\}|\b(?:by|on|group_right) ?\([^)]*\)/g
const metricsOf = (expression: string) => expression.replace(LABELS, '').match(METRIC) ?? []

const alerts = [...rules.matchAll(/- alert: (\w+)\n\s+expr: (.*)\n/g)].map(([, name, expr]) => ({
  name: name as string,
  expr: expr as string,
}))

describe('the rules for Prometheus', () => {
  const promtool = part('promtool')
  it.skipIf(!promtool.available)('are accepted by promtool, and raise what they are for', () => {
    const run = (...args: string[]) =>
      execFileSync(promtool.path, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })
    expect(run('check', 'rules', at(RULES))).toContain(`${alerts.length} rules found`)
    expect(run('test', 'rules', at(CASES))).toContain('SUCCESS')
  })

  it('each have a case in which they fire', () => {
    const cases = read(CASES)
    for (const { name } of alerts) {
      expect(cases, name).toMatch(new RegExp(`alertname: ${name}\\n\\s+exp_alerts:\\n\\s+- exp_labels`))
    }
  })

  it('name metrics that there are', () => {
    expect(alerts.length).toBeGreaterThan(10)
    for (const { name, expr } of alerts) {
      expect(metricsOf(expr).length, name).toBeGreaterThan(0)
      for (const metric of metricsOf(expr)) expect(exposed, `${name}: ${metric}`).toContain(metric)
    }
  })

  it('link to runbooks that there are, which name them', () => {
    const links = [...rules.matchAll(/- alert: (\w+)[\s\S]*?runbook_url: (\S+)/g)]
    expect(links).toHaveLength(alerts.length)
    const linked = new Set<string>()
    for (const [, name, url] of links) {
      const path = /\/blob\/main\/(docs\/runbooks\/[a-z-]+\.md)$/.exec(url as string)?.[1] ?? ''
      expect(existsSync(at(path)), `${name}: ${url}`).toBe(true)
      expect(read(path)).toContain(`\`${name}\``)
      linked.add(path.split('/').at(-1) as string)
    }
    expect(readdirSync(at('docs/runbooks')).sort()).toEqual([...linked].sort())
  })
})

describe('the dashboard for Grafana', () => {
  const panels: { id: number; type: string; title: string; targets?: { expr: string }[] }[] = dashboard.panels
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))

  it('names metrics that there are, and nearly all of them', () => {
    for (const expr of expressions) {
      for (const metric of metricsOf(expr)) expect(exposed, expr).toContain(metric)
    }
    const shown = new Set(
      expressions.flatMap(metricsOf).map(name => name.replace(/_(bucket|sum|count)$/, '')),
    )
    const absent = CATALOG.map(({ name }) => name).filter(name => !shown.has(name))
    expect(absent).toEqual([
      'queue_dropped_total',
      'kms_ed25519_table_builds_total',
      'kms_secret_memory_regions',
      'kms_secret_memory_protected',
      'kms_audit_queue_depth',
      'kms_build_info',
    ])
  })

  it('has panels with ids of their own that do not lie on one another', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    const places = dashboard.panels.map(
      ({ gridPos: { x, y } }: { gridPos: { x: number; y: number } }) => `${x},${y}`,
    )
    expect(new Set(places).size).toBe(panels.length)
  })

  it.skipIf(!part('promtool').available)('has expressions that promtool parses', () => {
    const group = expressions.map(
      (expr, i) =>
        `- record: panel:${i}\n  expr: ${JSON.stringify(expr.replaceAll('$__rate_interval', '5m'))}`,
    )
    const text = `groups:\n- name: dashboard\n  rules:\n${group.map(rule => `  ${rule.replaceAll('\n', '\n  ')}`).join('\n')}\n`
    const file = join(mkdtempSync(join(tmpdir(), 'ron-kms-rules-')), 'rules.yml')
    writeFileSync(file, text)
    const output = execFileSync(part('promtool').path, ['check', 'rules', file], { encoding: 'utf8' })
    rmSync(dirname(file), { recursive: true })
    expect(output).toContain(`${expressions.length} rules found`)
  })
})

describe('the runbooks', () => {
  it('link to files that there are', () => {
    for (const book of readdirSync(at('docs/runbooks'))) {
      for (const [, target] of read(`docs/runbooks/${book}`).matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
        expect(existsSync(at(`docs/runbooks/${target}`)), `${book}: ${target}`).toBe(true)
      }
    }
  })

  it('name metrics that there are', () => {
    for (const book of readdirSync(at('docs/runbooks'))) {
      const text = read(`docs/runbooks/${book}`)
      const named = [...text.matchAll(/`(kms_[a-z0-9_]+)/g)].map(([, name]) => name as string)
      for (const name of named) expect(exposed, `${book}: ${name}`).toContain(name)
    }
  })
})

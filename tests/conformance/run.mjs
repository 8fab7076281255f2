// Runs the public HTTP cache tests against a cache and holds the outcome against exceptions.json.
//
//   node run.mjs --cache http://127.0.0.1:PORT [--only ID] [--verbose]
//
// The suite's own origin must be running behind the cache (run.sh does all of that). A test counts as failed, too, when
// a test it depends on failed. Exits 0 when exactly the listed exceptions fail.

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

const suite = new URL('./node_modules/http-cache-tests/', import.meta.url)
const load = async path => import(new URL(path, suite))

const { values: args } = parseArgs({
  options: { cache: { type: 'string' }, only: { type: 'string' }, verbose: { type: 'boolean', default: false } }
})

const { default: fetch } = await import('node-fetch')
const { runTests, getResults } = await load('client/runner.mjs')
const { default: suites } = await load('tests/index.mjs')
const exceptions = JSON.parse(readFileSync(new URL('./exceptions.json', import.meta.url)))

const tests = new Map(suites.flatMap(({ tests }) => tests).filter(test => !test.browser_only).map(test => [test.id, test]))
if (args.only) tests.get(args.only).dump = true
const chosen = args.only ? [{ name: 'one', tests: [tests.get(args.only)] }] : suites
await runTests(chosen, fetch, false, args.cache)
const results = getResults()

const passed = id => results[id] === true && (tests.get(id)?.depends_on ?? []).every(passed)
const why = id => results[id] === true ? 'depends on a test that failed' : String(results[id]?.[1] ?? 'no result')

const counts = {}
const surprises = []
for (const [id, test] of tests) {
  if (args.only && id !== args.only) continue
  const kind = test.kind ?? 'required'
  counts[kind] ??= { passed: 0, failed: 0 }
  counts[kind][passed(id) ? 'passed' : 'failed']++
  if (kind === 'check') continue
  const excepted = id in exceptions
  if (passed(id) === excepted) surprises.push(`${kind} ${id}: ${excepted ? 'passes, but is listed as an exception' : why(id)}`)
  else if (args.verbose && excepted) console.log(`exception ${id}: ${why(id)}`)
}

for (const [kind, { passed, failed }] of Object.entries(counts)) console.log(`${kind}: ${passed} of ${passed + failed}`)
for (const surprise of surprises) console.log(`NOT EXPECTED ${surprise}`)
process.exit(surprises.length > 0 ? 1 : 0)

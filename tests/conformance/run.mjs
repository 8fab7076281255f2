// Runs the public HTTP cache tests against a cache and holds the outcome against exceptions.json.
//
//   node run.mjs --cache http://127.0.0.1:PORT [--only ID] [--verbose]
//
// The suite's own origin must be running behind the cache (run.sh does all of that). A test counts as failed, too, when
// a test it depends on failed. Exits 0 when exactly the listed exceptions fail. Most tests wait for real seconds to pass and are
// played a hundred at a time, so one that fails on a busy machine is played once more by itself.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
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
const prerequisites = id => tests.get(id)?.depends_on ?? []
const withPrerequisites = id => [...new Set(prerequisites(id).flatMap(withPrerequisites)), id]

if (args.only && !tests.has(args.only)) throw new Error(`no test is called ${args.only}`)
if (args.only && args.verbose) tests.get(args.only).dump = true
const chosen = args.only ? [{ tests: withPrerequisites(args.only).map(id => tests.get(id)) }] : suites
await runTests(chosen, fetch, false, args.cache)
const results = getResults()

const passed = id => results[id] === true && prerequisites(id).every(passed)
const why = id => results[id] === true ? 'depends on a test that failed' : String(results[id]?.[1] ?? 'no result')
const passesAlone = id => {
  const again = [fileURLToPath(import.meta.url), '--cache', args.cache, '--only', id]
  return spawnSync(process.execPath, ['--no-warnings', ...again]).status === 0
}

const counts = {}
const surprises = Object.keys(exceptions).filter(id => !tests.has(id)).map(id => `${id}: listed, but no test is called so`)
for (const [id, test] of tests) {
  if (args.only && id !== args.only) continue
  const kind = test.kind ?? 'required'
  const isExcepted = id in exceptions
  let isPassed = passed(id)
  if (!isPassed && !isExcepted && kind !== 'check' && !args.only) isPassed = passesAlone(id)
  counts[kind] ??= { passed: 0, all: 0 }
  counts[kind].all++
  if (isPassed) counts[kind].passed++
  // Tests of this kind ask what a cache does, not whether it is right.
  if (kind === 'check') continue
  if (isPassed === isExcepted) surprises.push(`${kind} ${id}: ${isExcepted ? 'passes, but is listed as an exception' : why(id)}`)
  else if (args.verbose && isExcepted) console.log(`exception ${id}: ${why(id)}; ${exceptions[id]}`)
}

for (const [kind, { passed, all }] of Object.entries(counts)) console.log(`${kind}: ${passed} of ${all}`)
for (const surprise of surprises) console.log(`NOT EXPECTED ${surprise}`)
process.exit(surprises.length > 0 ? 1 : 0)

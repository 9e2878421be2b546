#!/usr/bin/env node
// Plain JavaScript without dependencies, for any Node from 20 on: installs what the lock file names if it isn't there,
// then runs cli/main.ts on Node 24 (from the npm package node-linux-…, unless this Node is new enough).
//
// The one file that may run before anything is installed: it imports nothing but Node's own modules.

import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const WANTED = 24
/** Measured from an empty npm cache on linux-x64; said before the download begins. */
const DOWNLOAD = 'about 220 MB, 570 MB unpacked'

const say = (line) => process.stderr.write(`refold: ${line}\n`)
const major = (version) => Number(version.split('.')[0])
const readJson = (file) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null)

class Refusal extends Error {}

/** What `npm ci` would change, in a few words, or null when node_modules is what the lock file says. */
function stale() {
  const wanted = readJson(path.join(root, 'package-lock.json')).packages
  // npm writes this file last, so an install that was cut short has none.
  const installed = readJson(path.join(root, 'node_modules', '.package-lock.json'))?.packages
  if (!installed) return 'they are not here yet'
  for (const [name, { version, optional }] of Object.entries(wanted)) {
    if (name === '' || (optional && !installed[name])) continue
    if (installed[name]?.version !== version) return 'the lock file has changed'
  }
  return null
}

/** Runs `npm ci`, with a line every few seconds where there is no terminal to draw on. */
async function install() {
  const packages = Object.entries(readJson(path.join(root, 'package-lock.json')).packages)
    .filter(([name, { optional }]) => name !== '' && !optional)
    .map(([name]) => path.join(root, name, 'package.json'))
  const begun = Date.now()
  const seconds = () => Math.round((Date.now() - begun) / 1000)
  const progress = setInterval(() => {
    say(`installing packages: ${packages.filter((file) => existsSync(file)).length} of ${packages.length}, ${seconds()} s`)
  }, 5000)
  // Install scripts are not needed: what Postgres' package does in one, stack/postgres.ts does itself.
  const npm = ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error', '--progress=false']
  const command = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath, ...npm] : ['npm', ...npm]
  const env = { ...process.env, ...npmCache() }
  const { code, missing } = await run(command, { cwd: root, env, stdio: ['ignore', 2, 2] })
  clearInterval(progress)
  if (missing) throw new Refusal('npm is not on PATH. It comes with Node; on Debian: apt-get install npm')
  if (code !== 0)
    throw new Refusal('npm could not install the packages (its own message is above). Mend that, then run the same command again')
  say(`packages installed in ${seconds()} s`)
}

/** A home that can't be written has no room for npm's cache. */
function npmCache() {
  try {
    accessSync(os.homedir(), constants.W_OK)
    return {}
  } catch {
    return { npm_config_cache: path.join(os.tmpdir(), `refold-npm-${process.getuid?.() ?? 'cache'}`) }
  }
}

/** Holds `.refold/install.lock` while `work` runs, so that two commands at once on a bare clone don't install over each other. */
async function alone(work) {
  const lock = path.join(root, '.refold', 'install.lock')
  mkdirSync(path.dirname(lock), { recursive: true })
  for (let waited = false; ; waited = true) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      if (abandoned(lock)) rmSync(lock, { force: true })
      else if (!waited) say('another command is installing the packages; waiting for it (if none is: rm .refold/install.lock)')
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  }
  try {
    return await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

/** True when the process that made the lock is gone. */
function abandoned(lock) {
  try {
    const pid = Number(readFileSync(lock, 'utf8'))
    // Created but not yet written: its maker is between two lines, unless that was long ago.
    if (!pid) return Date.now() - statSync(lock).mtimeMs > 5000
    process.kill(pid, 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

/** npm that ends before us hands nothing on to what it runs: that ends when npm is gone, or the shell between. */
function whenOrphaned(end) {
  const parents = () => `${process.ppid} ${parentOf(process.ppid)}`
  const were = parents()
  const looking = setInterval(() => {
    if (parents() === were) return
    clearInterval(looking)
    end()
  }, 1000)
  return looking
}

/** The parent of a shell; of anything else it is no business of ours. Of Linux only: elsewhere it is not known. */
function parentOf(shell) {
  try {
    return /^\d+ \((?:ba|da|a|k|z)?sh\) \S (\d+)/.exec(readFileSync(`/proc/${shell}/stat`, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

/** Runs a command to its end. A signal of ours is handed to it. */
function run([command, ...args], options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, options)
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
    // A terminal signals parent and child, npm signals once more: the child takes signals close together for one (cli/signals.ts).
    // Whoever goes after a signal, as npm does under `timeout`, is no second one: that would cut the child's end short.
    let told = false
    const forward = (signal) => {
      told = true
      child.kill(signal)
    }
    for (const signal of signals) process.on(signal, forward)
    const looking = process.env.npm_lifecycle_event ? whenOrphaned(() => told || forward('SIGTERM')) : undefined
    const done = (result) => {
      clearInterval(looking)
      for (const signal of signals) process.off(signal, forward)
      resolve(result)
    }
    child.once('error', (error) => (error.code === 'ENOENT' ? done({ code: 127, missing: true }) : reject(error)))
    child.once('exit', (code, signal) => done({ code: code ?? 128 + os.constants.signals[signal], missing: false }))
  })
}

/** Folder and file of a Node that is new enough. */
function findNode() {
  if (major(process.versions.node) >= WANTED) return process.execPath
  const packaged = path.join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node')
  if (existsSync(packaged) && spawnSync(packaged, ['--version']).status === 0) return packaged
  throw new Refusal(
    `Node ${WANTED} is needed and has no npm package for ${process.platform}-${process.arch}. Install it from https://nodejs.org and run this again`,
  )
}

async function main() {
  if (major(process.versions.node) < 20)
    throw new Refusal(`Node 20 or newer is needed; this is ${process.version}. On Debian: apt-get install nodejs npm`)
  if (stale())
    await alone(async () => {
      const reason = stale()
      if (!reason) return
      say(`downloading the npm packages (${DOWNLOAD}): ${reason}`)
      await install()
    })
  const node = findNode()
  const env = {
    ...process.env,
    PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH ?? ''}`,
    // It ends with us, cli/signals.ts: killed, we could not hand a signal on.
    REFOLD_LAUNCHER: String(process.pid),
  }
  // The request queue of kafkajs arms timers in the past, which this Node would warn of.
  const command = [node, '--disable-warning=TimeoutNegativeWarning', path.join(root, 'cli', 'main.ts'), ...process.argv.slice(2)]
  const { code } = await run(command, { stdio: 'inherit', env })
  process.exitCode = code
}

main().catch((error) => {
  const denied = ['EACCES', 'EPERM', 'EROFS', 'ENOSPC'].includes(error.code)
  if (error instanceof Refusal) say(`${error.message}.`)
  else say(denied ? `${error.message}. This clone must be yours to write, with about 1 GB of room.` : error.stack)
  process.exitCode = 1
})

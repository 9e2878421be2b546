// How far an import is: a bar on a terminal, a plain line now and then elsewhere.

import { SingleBar } from 'cli-progress'

/** Running counts of an import. */
export type Progress = {
  bytesRead: number
  bytesTotal: number
  /** Rows read, and rows whose outcome is known. */
  read: number
  done: number
  elapsedMs: number
}

/** The part done, 0 to 1: of the bytes read, the share whose rows were answered. */
export function fraction({ bytesRead, bytesTotal, read, done }: Progress): number {
  if (bytesTotal === 0 || read === 0) return 0
  return Math.min(1, (bytesRead / bytesTotal) * (done / read))
}

export function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}

const number = new Intl.NumberFormat('en-US')
export const count = (value: number) => number.format(value)

export const rate = (rows: number, ms: number) => `${count(Math.round(rows / Math.max(ms / 1000, 0.001)))}/s`

/** `12,000 rows · 4,012/s · 38 % · 5 s left` */
export function progressText(progress: Progress): string {
  const part = fraction(progress)
  const left = part > 0 ? `${duration((progress.elapsedMs * (1 - part)) / part)} left` : 'time left unknown'
  return `${count(progress.done)} rows · ${rate(progress.done, progress.elapsedMs)} · ${Math.floor(part * 100)} % · ${left}`
}

export type ProgressView = { stop(): void }

const BAR_EVERY = 100
const LINE_EVERY = 5000

/** Shows what `now` says until stopped, on `stream`. */
export function showProgress(now: () => Progress, stream: NodeJS.WriteStream): ProgressView {
  if (!stream.isTTY) {
    const timer = setInterval(() => stream.write(`${progressText(now())}\n`), LINE_EVERY)
    return { stop: () => clearInterval(timer) }
  }
  const bar = new SingleBar({ format: '{bar} {text}', stream, hideCursor: true, clearOnComplete: true, barsize: 24 })
  bar.start(1000, 0, { text: '' })
  const timer = setInterval(() => {
    const progress = now()
    bar.update(Math.round(fraction(progress) * 1000), { text: progressText(progress) })
  }, BAR_EVERY)
  return {
    stop() {
      clearInterval(timer)
      bar.stop()
    },
  }
}

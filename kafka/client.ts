// The Kafka client: one way to make it, its log lines on our logger, its errors in our words. kafkajs 2.2.4.

import kafkajs from 'kafkajs'
import type { Kafka, LogEntry } from 'kafkajs'
import { RefoldError, asError } from '../errors.ts'
import { registerCodecs } from './codecs.ts'

/** What kafka/ asks of a logger; pino's fits. */
export type LineLogger = {
  debug(facts: object, line: string): void
  info(facts: object, line: string): void
  warn(facts: object, line: string): void
  error(facts: object, line: string): void
}

export type ClientOptions = {
  brokers: readonly string[]
  clientId: string
  logger: LineLogger
  /** Milliseconds until a request without an answer counts as failed (its outcome is unknown). Default: 15,000. */
  requestTimeout?: number
  /** Tries of a request after the first. */
  retries?: number
}

/**
 * A client of its own for each reader, producer and admin: kafkajs shares the committed offsets of a group among all
 * consumers of one `Kafka`, so that one member's rejoin empties the other's.
 */
export function createClient({ brokers, clientId, logger, requestTimeout = 15_000, retries = 4 }: ClientOptions): Kafka {
  registerCodecs()
  const { Kafka, logLevel } = kafkajs
  return new Kafka({
    brokers: [...brokers],
    clientId,
    requestTimeout,
    connectionTimeout: 3000,
    logLevel: logLevel.INFO,
    logCreator: () => lineWriter(logger),
    // Short: whoever uses the client has a loop of its own around it. restartOnFailure: the reader rebuilds the client itself.
    retry: { retries, initialRetryTime: 100, maxRetryTime: 1000, restartOnFailure: async () => false },
  })
}

// What kafkajs calls an error is, for us, mostly one step of a retry that succeeds; whoever called it reports a failure
// that stays. Lines that come with every rebalance or restart, or that the reader says itself, are for debugging.
const ORDINARY =
  /^Response |^The group is rebalancing|^The coordinator is not aware|^Offset out of range|^Crash: |^Connection (error|timeout)|^Failed to connect|^Failed to send messages|^The producer is disconnect|^The request timed out|^This server |^The request included a message larger/
const REPEATED_AFTER = 10_000

function lineWriter(logger: LineLogger): (entry: LogEntry) => void {
  const { logLevel } = kafkajs
  const shown = new Map<string, number>()
  return ({ level, namespace, log: { message, timestamp, ...facts } }) => {
    const line = `kafkajs ${namespace}: ${message}`
    if (level === logLevel.INFO || level === logLevel.DEBUG || ORDINARY.test(message)) return logger.debug(facts, line)
    const now = Date.parse(timestamp)
    if (now - (shown.get(line) ?? 0) < REPEATED_AFTER) return logger.debug(facts, line)
    if (shown.size > 100) shown.clear()
    shown.set(line, now)
    logger[level === logLevel.ERROR ? 'warn' : 'info'](facts, line)
  }
}

/** The broker's error code of something kafkajs threw (`MESSAGE_TOO_LARGE`, …), or else the error's name. */
export function kafkaCode(thrown: unknown): string {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    if ('type' in error && typeof error.type === 'string') return error.type
    if (!(error.cause instanceof Error)) return error.name
  }
  return 'unknown'
}

/** Anything kafkajs threw, as an error of the catalogue. */
export function logError(thrown: unknown, doing: string): RefoldError {
  if (thrown instanceof RefoldError) return thrown
  const code = kafkaCode(thrown) === 'UNKNOWN_TOPIC_OR_PARTITION' ? 'log-topic-missing' : 'log-unavailable'
  return new RefoldError(code, `${doing}: ${asError(thrown).message}`, { cause: thrown })
}

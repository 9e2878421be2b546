// Kafka's own kafka-consumer-groups, from the jars of the local broker: no distribution of Kafka is needed for it.

import { spawn } from 'node:child_process'
import path from 'node:path'
import { requireJava } from './java.ts'
import { KAFKA_PART } from './kafka.ts'
import { fetchPart, type Say } from './parts.ts'

const CONSUMER_GROUPS = 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand'

/** Runs it with these arguments, on our own output; resolves with its exit code. */
export async function consumerGroups(brokers: readonly string[], args: readonly string[], say: Say): Promise<number> {
  const java = requireJava(17, 'Kafka')
  const jars = await fetchPart(KAFKA_PART, say)
  const given = args.includes('--bootstrap-server') ? args : ['--bootstrap-server', brokers.join(','), ...args]
  const flags = ['-XX:TieredStopAtLevel=1', '-Dlog4j2.level=ERROR', '-cp', path.join(jars, '*')]
  const child = spawn(java.path, [...flags, CONSUMER_GROUPS, ...given], { stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}

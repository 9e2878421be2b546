// Kafka: the brokers, and the events topic against what Refold would have made.

import type { Config } from '../../config.ts'
import type { KafkaLook, TopicLook } from '../../kafka/look.ts'
import { eventsSettings } from '../../kafka/topics.ts'
import { type Finding, ms, ok, warn, wrong } from './finding.ts'

/** Settings whose loss costs records or their order in time; others cost speed. */
const VITAL: ReadonlySet<string> = new Set(['cleanup.policy', 'retention.ms', 'retention.bytes', 'message.timestamp.type'])

const MAX_MESSAGE = 'max.message.bytes'
/** Kafka's own default, which leaves room for the largest record of ours. */
const MAX_MESSAGE_BYTES = 1_048_588

export const topicSettings = (config: Config): string[] => [...Object.keys(eventsSettings(config.replication)), MAX_MESSAGE]

/** The command that makes the topic as `ensureTopic` would. */
export function topicCommand(config: Config, topic: string, brokers: readonly string[]): string {
  const settings = Object.entries(eventsSettings(config.replication)).map(([name, value]) => `--config ${name}=${value}`)
  const size = `--partitions ${config.partitions} --replication-factor ${config.replication}`
  return `kafka-topics.sh --bootstrap-server ${brokers.join(',')} --create --topic ${topic} ${size} ${settings.join(' ')}`
}

const configCommand = (topic: string, brokers: readonly string[], setting: string, value: string) =>
  `kafka-configs.sh --bootstrap-server ${brokers.join(',')} --alter --entity-type topics --entity-name ${topic} --add-config ${setting}=${value}`

export function judgeKafka(
  { release, brokers, latency, topic }: KafkaLook,
  config: Config,
  name: string,
  given: readonly string[],
): Finding[] {
  const count = `${brokers} ${brokers === 1 ? 'broker' : 'brokers'}`
  const server = ok('kafka', `${release ?? 'release unknown'}, ${count}, ${ms(latency)}`)
  return [server, ...(topic ? judgeTopic(topic, config, name, given) : [missingTopic(config, name, given)])]
}

function missingTopic(config: Config, name: string, brokers: readonly string[]): Finding {
  if (config.createTopics) return warn('topic', `${name} does not exist yet`, 'It is made at the first start: npm run refold -- start')
  return wrong('topic', `${name} does not exist, and REFOLD_CREATE_TOPICS is false`, topicCommand(config, name, brokers))
}

function judgeTopic(topic: TopicLook, config: Config, name: string, brokers: readonly string[]): Finding[] {
  const made = ok('topic', `${name}: ${topic.partitions} partitions, replication ${topic.replication}`)
  return [made, ...judgeReplicas(topic, config), ...judgeSettings(topic, config, name, brokers)]
}

function judgeReplicas({ leaderless, underReplicated, replication }: TopicLook, config: Config): Finding[] {
  const found: Finding[] = []
  if (leaderless.length > 0)
    found.push(wrong('replicas', `partitions ${leaderless.join(', ')} have no leader`, 'Start the brokers that are down; see their logs.'))
  if (underReplicated.length > 0)
    found.push(warn('replicas', `partitions ${underReplicated.join(', ')} have replicas behind`, 'See whether a broker is down.'))
  if (replication < config.replication)
    found.push(
      warn('replicas', `${replication}, REFOLD_REPLICATION is ${config.replication}`, 'Raise it with kafka-reassign-partitions.sh.'),
    )
  return found.length > 0 ? found : [ok('replicas', 'all in sync')]
}

function judgeSettings({ settings }: TopicLook, config: Config, name: string, brokers: readonly string[]): Finding[] {
  const differing = Object.entries(eventsSettings(config.replication)).filter(([setting, wanted]) => settings.get(setting) !== wanted)
  const found = differing.map(([setting, wanted]) => {
    const judge = VITAL.has(setting) ? wrong : warn
    return judge(
      'topic settings',
      `${setting} is ${settings.get(setting) ?? 'unknown'}, not ${wanted}`,
      configCommand(name, brokers, setting, wanted),
    )
  })
  const largest = Number(settings.get(MAX_MESSAGE))
  if (largest < MAX_MESSAGE_BYTES)
    found.push(
      warn(
        'topic settings',
        `${MAX_MESSAGE} is ${largest}: events that Refold takes are refused`,
        configCommand(name, brokers, MAX_MESSAGE, String(MAX_MESSAGE_BYTES)),
      ),
    )
  return found.length > 0 ? found : [ok('topic settings', 'kept for ever, timed by the broker')]
}

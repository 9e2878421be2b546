// A look at the registry, for `refold doctor`: asks, registers nothing, gives up soon.

import { z } from 'zod'
import { COMPATIBLE, endpointOf } from './registry.ts'

export type RegistryLook = {
  /** Without credentials. */
  address: string
  /** As `Apicurio Registry 3.3.3`; undefined when it does not say. */
  version: string | undefined
  /** Of one question on an open connection, in ms. */
  latency: number
  /** The subject's schemas, and how they must fit together; null when there is no such subject yet. */
  subject: { versions: number; newest: { id: number; text: string } | null; compatibility: string; isEnough: boolean } | null
}

const apicurio = z.object({ name: z.string(), version: z.string() })
const confluent = z.object({ version: z.string() })
const config = z.object({ compatibilityLevel: z.string() })
const version = z.object({ id: z.int(), schema: z.string() })

export async function lookAtRegistry(url: string, subject: string, within: number): Promise<RegistryLook> {
  const { root, headers } = endpointOf(url)
  const get = async (address: string): Promise<unknown> => {
    const response = await fetch(address, { headers, signal: AbortSignal.timeout(within) })
    if (response.ok) return response.json()
    await response.body?.cancel()
    return undefined
  }
  const types = await get(`${root}/schemas/types`)
  if (!Array.isArray(types)) throw new Error(`${root} answers, but not as a schema registry: is its path right?`)
  const name = encodeURIComponent(subject)
  const begun = performance.now()
  const versions = await get(`${root}/subjects/${name}/versions`)
  const latency = performance.now() - begun
  return {
    address: root,
    version: await versionOf(root, get),
    latency,
    subject: Array.isArray(versions)
      ? { versions: versions.length, newest: await newestOf(root, name, get), ...(await compatibilityOf(root, name, get)) }
      : null,
  }
}

type Get = (address: string) => Promise<unknown>

async function newestOf(root: string, name: string, get: Get) {
  const { data } = version.safeParse(await get(`${root}/subjects/${name}/versions/latest`))
  return data ? { id: data.id, text: data.schema } : null
}

/** The subject's own setting, else the registry's, which then holds for it. */
async function compatibilityOf(root: string, name: string, get: Get) {
  const found = config.safeParse((await get(`${root}/config/${name}`)) ?? (await get(`${root}/config`)))
  const compatibility = found.data?.compatibilityLevel ?? 'unknown'
  return { compatibility, isEnough: COMPATIBLE.has(compatibility) }
}

async function versionOf(root: string, get: Get): Promise<string | undefined> {
  const own = root.replace(/\/apis\/ccompat\/v\d+$/, '/apis/registry/v3/system/info')
  const told = own === root ? undefined : apicurio.safeParse(await get(own)).data
  if (told) return `${told.name.replace(/ \(.*\)$/, '')} ${told.version}`
  const other = confluent.safeParse(await get(`${root}/v1/metadata/version`)).data?.version
  return other === undefined ? undefined : `Confluent ${other}`
}

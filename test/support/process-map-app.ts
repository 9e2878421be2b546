// The example's process map as an application of its own.

import { processMap } from '../../examples/permit-log/process-map.ts'
import { defineApp } from '../../index.ts'

export default defineApp({ projections: [processMap] })

// An application of shipped read models only.

import { defineApp, executionsByState } from '../../index.ts'

export default defineApp({ projections: [executionsByState] })

/** One metric as it is exposed. */
export interface MetricRow {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  /** Upper bounds of a histogram; `engine` where the native engine fixes them and reports them. */
  readonly buckets?: readonly number[] | 'engine'
}

/** Bounds for requests, in seconds: a sign takes tens of microseconds, a slow body seconds. */
export const REQUEST_BUCKETS = [
  0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
] as const

/** Every metric of the service. A new row does not compile until registry.ts knows its source. */
export const CATALOG = [
  {
    name: 'kms_ops_total',
    type: 'counter',
    help: 'Operations of the engine by outcome; every item of a batch counts.',
    labels: ['op', 'alg', 'result'],
  },
  {
    name: 'kms_latency_seconds',
    type: 'histogram',
    help: 'Time of an operation inside the engine.',
    labels: ['op', 'alg'],
    buckets: 'engine',
  },
  {
    name: 'kms_failures_total',
    type: 'counter',
    help: 'Requests and operations that failed, by error code; op "http" where no route was found.',
    labels: ['op', 'kind'],
  },
  {
    name: 'kms_batch_len',
    type: 'histogram',
    help: 'Items in a batch.',
    labels: ['op'],
    buckets: 'engine',
  },
  {
    name: 'kms_attest_total',
    type: 'counter',
    help: 'Questions where a key is held.',
    labels: ['backend', 'result'],
  },
  {
    name: 'kms_queue_seconds',
    type: 'histogram',
    help: 'Time that work for the threads of the engine waited for its turn, beside the time that it took.',
    labels: [],
    buckets: 'engine',
  },
  {
    name: 'kms_turn_seconds',
    type: 'histogram',
    help: 'Time that requests waited for their turn among those of other tenants, beside the time that they took.',
    labels: ['queue'],
    buckets: REQUEST_BUCKETS,
  },
  {
    name: 'queue_depth',
    type: 'gauge',
    help: 'What is under way or waits: "sign" and "verify" requests, "jobs" for a thread of the engine, "audit" records that no checkpoint covers yet.',
    labels: ['queue'],
  },
  {
    name: 'queue_dropped_total',
    type: 'counter',
    help: 'What gave way because there was no room: "audit" summaries of verifications.',
    labels: ['queue'],
  },
  {
    name: 'busy_rejections_total',
    type: 'counter',
    help: 'Operations refused with Backpressure, by what they waited for.',
    labels: ['queue'],
  },
  {
    name: 'kms_keys',
    type: 'gauge',
    help: 'Keys that the engine holds.',
    labels: ['alg'],
  },
  {
    name: 'kms_reject_total',
    type: 'counter',
    help: 'Operations that policy refused, by reason.',
    labels: ['reason'],
  },
  {
    name: 'kms_hybrid_classical_only_total',
    type: 'counter',
    help: 'Verifications that held by a classical half alone: how far the post-quantum migration is.',
    labels: ['tenant'],
  },
  {
    name: 'kms_pq_mode',
    type: 'gauge',
    help: '1 for the verify mode in force.',
    labels: ['mode'],
  },
  {
    name: 'kms_pq_rollout_percent',
    type: 'gauge',
    help: 'The part of all keys that the post-quantum policy applies to.',
    labels: [],
  },
  {
    name: 'kms_pq_phase',
    type: 'gauge',
    help: '1 for the phase of the migration; tenant "*" is every tenant without a rule of its own.',
    labels: ['tenant', 'phase'],
  },
  {
    name: 'kms_ed25519_table_hits_total',
    type: 'counter',
    help: 'Verifications, or runs of one key in a batch, that found a table of the key.',
    labels: [],
  },
  {
    name: 'kms_ed25519_table_builds_total',
    type: 'counter',
    help: 'Tables built for public keys that verified often enough.',
    labels: [],
  },
  {
    name: 'kms_ed25519_table_evictions_total',
    type: 'counter',
    help: 'Tables that gave way to those of other keys.',
    labels: [],
  },
  {
    name: 'kms_ed25519_table_bytes',
    type: 'gauge',
    help: 'Memory of all tables of public keys.',
    labels: [],
  },
  {
    name: 'kms_secret_memory_bytes',
    type: 'gauge',
    help: 'Memory for secrets, by whether it is locked into RAM.',
    labels: ['state'],
  },
  {
    name: 'kms_secret_memory_regions',
    type: 'gauge',
    help: 'Mapped regions of memory for secrets.',
    labels: [],
  },
  {
    name: 'kms_secret_memory_protected',
    type: 'gauge',
    help: '1 where all memory for secrets has the protection: locked, dontdump, wipeonfork.',
    labels: ['protection'],
  },
  {
    name: 'kms_audit_appends_total',
    type: 'counter',
    help: 'Records in the audit log, those of earlier processes included (ok), and those that were not taken (err).',
    labels: ['result'],
  },
  {
    name: 'kms_audit_checkpoint_total',
    type: 'counter',
    help: 'Checkpoints of the audit log that were made (ok), and attempts that failed (err).',
    labels: ['result'],
  },
  {
    name: 'kms_audit_checkpoint_size',
    type: 'gauge',
    help: 'Records that the last checkpoint of the audit log covers.',
    labels: [],
  },
  {
    name: 'kms_audit_checkpoint_age_seconds',
    type: 'gauge',
    help: 'Time since the last checkpoint of the audit log; one is made when there are records that none covers.',
    labels: [],
  },
  {
    name: 'kms_audit_queue_depth',
    type: 'gauge',
    help: 'Records that no checkpoint covers yet.',
    labels: [],
  },
  {
    name: 'kms_audit_dropped_total',
    type: 'counter',
    help: 'Summaries of verifications that found no room in the audit log.',
    labels: ['kind'],
  },
  {
    name: 'kms_audit_exported_records',
    type: 'gauge',
    help: 'Records that the receiver of the export has.',
    labels: [],
  },
  {
    name: 'kms_audit_export_failures_total',
    type: 'counter',
    help: 'Attempts to export records that failed.',
    labels: [],
  },
  {
    name: 'kms_audit_witness_size',
    type: 'gauge',
    help: 'Records under the last checkpoint that a witness cosigned.',
    labels: ['witness'],
  },
  {
    name: 'kms_audit_witness_failures_total',
    type: 'counter',
    help: 'Attempts to have a checkpoint cosigned that failed.',
    labels: ['witness'],
  },
  {
    name: 'kms_audit_integrity_failed_total',
    type: 'counter',
    help: 'Times that store or audit log were not what was acknowledged; the service then only verifies.',
    labels: [],
  },
  {
    name: 'kms_ready',
    type: 'gauge',
    help: '1 where the service is ready: what /readyz says.',
    labels: [],
  },
  {
    name: 'kms_ready_key',
    type: 'gauge',
    help: '1 for each key of /readyz that holds.',
    labels: ['key'],
  },
  {
    name: 'kms_clock_drift_seconds',
    type: 'gauge',
    help: 'How far the wall clock moved against the monotonic one since the start.',
    labels: [],
  },
  {
    name: 'kms_trace_spans_total',
    type: 'counter',
    help: 'Spans of requests, by what became of them; none where tracing is off.',
    labels: ['result'],
  },
  {
    name: 'kms_backend_up',
    type: 'gauge',
    help: '1 while the token can be reached; only with a backend that has one, as all kms_backend_*.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_pin_near_lock',
    type: 'gauge',
    help: '1 where the token said, when it was opened, that one more wrong PIN locks it.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_sessions',
    type: 'gauge',
    help: 'Sessions with the token: connected, connecting, and error for those in a call that passed its deadline.',
    labels: ['backend', 'state'],
  },
  {
    name: 'kms_backend_sessions_busy',
    type: 'gauge',
    help: 'Connected sessions that a call is using.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_session_limit',
    type: 'gauge',
    help: 'Most sessions that are opened.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_queue_depth',
    type: 'gauge',
    help: 'Calls that wait for a session.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_reconnects_total',
    type: 'counter',
    help: 'Sessions that were opened in place of lost ones.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_trips_total',
    type: 'counter',
    help: 'How often the token went away.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_retries_total',
    type: 'counter',
    help: 'Calls that were tried a second time.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_timeouts_total',
    type: 'counter',
    help: 'Calls that the token did not answer by their deadline.',
    labels: ['backend'],
  },
  {
    name: 'kms_backend_call_seconds',
    type: 'histogram',
    help: "Time inside a function of the token's library.",
    labels: ['backend', 'function'],
    buckets: 'engine',
  },
  {
    name: 'kms_backend_call_errors_total',
    type: 'counter',
    help: "Calls of a function of the token's library that returned an error.",
    labels: ['backend', 'function'],
  },
  {
    name: 'kms_verify_cache_age_ms',
    type: 'gauge',
    help: 'For how long the token has been away whose keys are verified with what is known of them; 0 while it is there.',
    labels: [],
  },
  {
    name: 'kms_build_info',
    type: 'gauge',
    help: 'Always 1; the version and the CPU tier that the native core uses.',
    labels: ['version', 'cpu_tier'],
  },
  {
    name: 'http_requests_total',
    type: 'counter',
    help: 'Answered requests of the API.',
    labels: ['route', 'method', 'status'],
  },
  {
    name: 'request_latency_seconds',
    type: 'histogram',
    help: 'Time from the headers of a request to its answer.',
    labels: ['route', 'method'],
    buckets: REQUEST_BUCKETS,
  },
  {
    name: 'inflight_requests',
    type: 'gauge',
    help: 'Requests that are being worked on.',
    labels: ['route'],
  },
  {
    name: 'kms_http_threads',
    type: 'gauge',
    help: 'Threads that serve the API.',
    labels: [],
  },
  {
    name: 'kms_http_thread_failures_total',
    type: 'counter',
    help: 'Threads that ended by themselves, with their connections, and were replaced.',
    labels: [],
  },
  {
    name: 'tls_handshake_failures_total',
    type: 'counter',
    help: 'Connections that never became TLS 1.3, or whose client had no certificate that is taken.',
    labels: [],
  },
  {
    name: 'tls_certificate_not_after_seconds',
    type: 'gauge',
    help: 'When the certificate in use ends, in Unix seconds; 0 without TLS.',
    labels: [],
  },
  {
    name: 'rejected_total',
    type: 'counter',
    help: 'Requests and connections refused before any work, by reason.',
    labels: ['reason'],
  },
] as const satisfies readonly MetricRow[]

/** Algorithms whose series are there from the start, at zero, by the operations that they take part in. */
export const ALGORITHMS_AT_ZERO: Readonly<Record<string, readonly string[]>> = {
  sign: ['ed25519', 'ml-dsa', 'slh-dsa', 'hybrid'],
  verify: ['ed25519', 'ml-dsa', 'slh-dsa', 'hybrid'],
  wrap: ['x25519', 'ml-kem', 'hybrid'],
  unwrap: ['x25519', 'ml-kem', 'hybrid'],
}

/** The name of a metric in {@link CATALOG}. */
export type MetricName = (typeof CATALOG)[number]['name']

/** Metrics of the process that prom-client defines. Those whose names break the rules of Prometheus are left out. */
export const PROCESS_METRICS = [
  'process_cpu_user_seconds_total',
  'process_cpu_system_seconds_total',
  'process_cpu_seconds_total',
  'process_start_time_seconds',
  'process_resident_memory_bytes',
  'process_open_fds',
  'process_max_fds',
  'nodejs_eventloop_lag_seconds',
  'nodejs_eventloop_lag_max_seconds',
  'nodejs_eventloop_lag_mean_seconds',
  'nodejs_eventloop_lag_p50_seconds',
  'nodejs_eventloop_lag_p90_seconds',
  'nodejs_eventloop_lag_p99_seconds',
  'nodejs_heap_size_total_bytes',
  'nodejs_heap_size_used_bytes',
  'nodejs_external_memory_bytes',
] as const

/** Why something was refused before any work: the values of `rejected_total{reason}`. */
export const REJECT_REASONS = [
  'unauth',
  'backpressure',
  'store_unavailable',
  'pq_policy',
  'attest_missing',
  'no_route',
  'wrong_method',
  'body_cap',
  'header_cap',
  'content_type',
  'content_encoding',
  'decompress_cap',
  'ratio_cap',
  'read_timeout',
  'malformed_http',
  'max_conns',
  'tls_handshake',
  'uds_peer',
  'shutdown',
] as const

/** A value of `rejected_total{reason}`. */
export type RejectReason = (typeof REJECT_REASONS)[number]

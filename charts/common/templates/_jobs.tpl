{{/*
Brings the database up to date before anything else of the release changes: as the owner of the database, without a sidecar (which would
keep the Job from ending). Of several at once one works and the others wait. Takes: root, app, program.
*/}}
{{- define "common.migrations" -}}
{{- $migrations := .root.Values.migrations -}}
{{- $env := include "common.databaseEnv" (dict "root" .root "role" "owner") -}}
{{- if $migrations.enabled }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .app }}-migrations
  labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-migrations" .app)) | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: {{ $migrations.retries }}
  activeDeadlineSeconds: {{ $migrations.timeoutSeconds }}
  template:
    metadata:
      labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-migrations" .app)) | nindent 8 }}
      annotations: {{ include "common.jobAnnotations" .root | nindent 8 }}
    spec: {{ include "common.jobPod" (dict "root" .root "name" "migrations" "args" (list .program) "env" $env "resources" $migrations.resources) | nindent 6 }}
{{- end }}
{{- end }}

{{/* Daily: the event store's next partitions; what came back is forgotten after its time. Takes: root, app. */}}
{{- define "common.housekeeping" -}}
{{- $housekeeping := .root.Values.housekeeping -}}
{{- if $housekeeping.enabled }}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ .app }}-housekeeping
  labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-housekeeping" .app)) | nindent 4 }}
spec:
  schedule: {{ $housekeeping.schedule | quote }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  jobTemplate:
    spec:
      backoffLimit: 3
      activeDeadlineSeconds: 1800
      template:
        metadata:
          labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-housekeeping" .app)) | nindent 12 }}
          annotations: {{ include "common.jobAnnotations" .root | nindent 12 }}
        spec: {{ include "common.jobPod" (dict "root" .root "name" "housekeeping" "args" (list "services/relay/housekeeping.ts") "env" (include "common.housekeepingEnv" .root) "resources" $housekeeping.resources) | nindent 10 }}
{{- end }}
{{- end }}

{{- define "common.housekeepingEnv" -}}
{{ include "common.databaseEnv" (dict "root" . "role" "housekeeping") }}
- { name: KEEP_PUBLISHED_DAYS, value: {{ .Values.housekeeping.keepPublishedDays | quote }} }
{{- end }}

{{/*
Creates the topics' streams at JetStream, or gives them today's limits; with credentials that may. What it changes it tells, and Helm shows
that: the Job is gone when it has succeeded. Takes: root, app, topics.
*/}}
{{- define "common.streams" -}}
{{- $broker := .root.Values.broker -}}
{{- $streams := $broker.jetstream.streams -}}
{{- if and (eq $broker.kind "jetstream") $streams.create }}
{{- with include "common.jetstreamBeyondUrl" .root -}}
{{- fail (printf "broker.jetstream.streams.create is on, and its Job reaches JetStream by the url of its Secret alone, not with %s: create the streams yourself (docs/operate.md), or put it into the url" (trim . | replace " " ", ")) -}}
{{- end }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .app }}-streams
  labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-streams" .app)) | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
spec:
  backoffLimit: 3
  # Much of it for a node that has to be made first, and the image.
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-streams" .app)) | nindent 8 }}
      annotations: {{ include "common.jobAnnotations" .root | nindent 8 }}
    spec: {{ include "common.jobPod" (dict "root" .root "name" "streams" "args" (concat (list "services/streams/main.ts") .topics) "env" (include "common.streamsEnv" .root) "resources" $streams.resources) | nindent 6 }}
{{- end }}
{{- end }}

{{/*
Gives the consumers that are there already what sidecars will ask for: a sidecar hears nothing from one that is set otherwise, and would go on
so, ready. At a rollback as well, and after all else that may fail. Takes: root, app, subscriptions (topic=app,app...).
*/}}
{{- define "common.consumers" -}}
{{- $broker := .root.Values.broker -}}
{{- if and (eq $broker.kind "jetstream") $broker.jetstream.consumers.update (not (include "common.jetstreamBeyondUrl" .root)) }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .app }}-consumers
  labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-consumers" .app)) | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade,pre-rollback
    helm.sh/hook-weight: "10"
    # Helm may give up before it does: it would change consumers later then, for sidecars that never come.
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
    helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
spec:
  backoffLimit: 3
  # Much of it for a node that has to be made first, and the image.
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-consumers" .app)) | nindent 8 }}
      annotations: {{ include "common.jobAnnotations" .root | nindent 8 }}
    spec: {{ include "common.jobPod" (dict "root" .root "name" "consumers" "args" (prepend .subscriptions "services/streams/consumers.ts") "env" (include "common.consumersEnv" .root) "resources" $broker.jetstream.consumers.resources) | nindent 6 }}
{{- end }}
{{- end }}

{{- define "common.consumersEnv" -}}
{{- $broker := .Values.broker -}}
{{ include "common.secretEnv" (dict "name" "NATS_URL" "secret" $broker.existingSecret "key" $broker.keys.url) }}
- { name: CONSUMER_BACK_OFF_SECONDS, value: {{ include "common.backOffSeconds" . | quote }} }
- { name: CONSUMER_MAX_ACK_PENDING, value: {{ $broker.jetstream.maxAckPending | quote }} }
{{- end }}

{{/* What a command that manages streams is told of JetStream. */}}
{{- define "common.natsEnv" -}}
{{- $broker := .Values.broker -}}
{{ include "common.secretEnv" (dict "name" "NATS_URL" "secret" ($broker.jetstream.streams.existingSecret | default $broker.existingSecret) "key" $broker.keys.url) }}
{{- end }}

{{- define "common.streamsEnv" -}}
{{- $streams := .Values.broker.jetstream.streams -}}
{{ include "common.natsEnv" . }}
- { name: STREAM_REPLICAS, value: {{ $streams.replicas | quote }} }
- { name: STREAM_MAX_MIB, value: {{ $streams.maxMiB | quote }} }
- { name: STREAM_MAX_AGE_HOURS, value: {{ $streams.maxAgeHours | quote }} }
{{- end }}

{{/* Metadata that sidecars reach JetStream with, and a command past Dapr would not: it knows what NATS_URL says. */}}
{{- define "common.jetstreamBeyondUrl" -}}
{{- range $name, $_ := merge dict .Values.broker.extraMetadata .Values.broker.extraSecretMetadata -}}
{{- if has (lower $name) (list "domain" "apiprefix" "jwt" "seedkey" "token" "tls_client_cert" "tls_client_key") }}{{ $name }} {{ end -}}
{{- end -}}
{{- end }}

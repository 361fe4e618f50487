{{/*
Migrates the database before anything else of the release changes: as the database's owner, and without a sidecar, with which the Job would
never complete. Of several concurrent migrations, one runs and the others wait. Takes: root, app, program.
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

{{/* Daily: creates the event store's next partitions and deletes log entries past their retention. Takes: root, app. */}}
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
        spec: {{ include "common.jobPod" (dict "root" .root "name" "housekeeping" "args" (list "ops/housekeeping/main.ts") "env" (include "common.housekeepingEnv" .root) "resources" $housekeeping.resources) | nindent 10 }}
{{- end }}
{{- end }}

{{- define "common.housekeepingEnv" -}}
{{ include "common.databaseEnv" (dict "root" . "role" "housekeeping") }}
- { name: KEEP_PUBLISHED_DAYS, value: {{ .Values.housekeeping.keepPublishedDays | quote }} }
{{- end }}

{{/*
Creates the topics' JetStream streams, or sets the limits of existing ones; needs credentials that may manage streams. Helm shows the Job's
log, because the Job itself is deleted when it succeeds. Takes: root, app, topics.
*/}}
{{- define "common.streams" -}}
{{- $broker := .root.Values.broker -}}
{{- $streams := $broker.jetstream.streams -}}
{{- if and (eq $broker.kind "jetstream") $streams.create }}
{{- with include "common.jetstreamBeyondUrl" .root -}}
{{- fail (printf "broker.jetstream.streams.create is on, but its Job connects to JetStream with the url of its Secret only, not with %s: create the streams yourself (docs/operate.md), or put the setting into the url" (trim . | replace " " ", ")) -}}
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
  # Most of it is for a new node and for pulling the image.
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-streams" .app)) | nindent 8 }}
      annotations: {{ include "common.jobAnnotations" .root | nindent 8 }}
    spec: {{ include "common.jobPod" (dict "root" .root "name" "streams" "args" (concat (list "ops/jetstream/create-streams.ts") .topics) "env" (include "common.streamsEnv" .root) "resources" $streams.resources) | nindent 6 }}
{{- end }}
{{- end }}

{{/*
Creates missing JetStream consumers, which a sidecar with its own user may not do, and gives existing ones the settings that the sidecars will
expect: a sidecar receives nothing from a consumer with other settings, while its pod stays ready. Also runs at a rollback. It is the last
hook, after everything else that can fail. Takes: root, app, subscriptions (topic=app,app...).
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
    # Deleted when it fails, too: after Helm's timeout a retry would change consumers for sidecars that are never deployed.
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
    helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
spec:
  backoffLimit: 3
  # Most of it is for a new node and for pulling the image.
  activeDeadlineSeconds: 600
  template:
    metadata:
      labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-consumers" .app)) | nindent 8 }}
      annotations: {{ include "common.jobAnnotations" .root | nindent 8 }}
    spec: {{ include "common.jobPod" (dict "root" .root "name" "consumers" "args" (prepend .subscriptions "ops/jetstream/update-consumers.ts") "env" (include "common.consumersEnv" .root) "resources" $broker.jetstream.consumers.resources) | nindent 6 }}
{{- end }}
{{- end }}

{{- define "common.consumersEnv" -}}
{{- $broker := .Values.broker -}}
{{ include "common.secretEnv" (dict "name" "NATS_URL" "secret" ($broker.jetstream.consumers.existingSecret | default $broker.existingSecret) "key" $broker.keys.url) }}
- { name: CONSUMER_BACK_OFF_SECONDS, value: {{ include "common.backOffSeconds" . | quote }} }
- { name: CONSUMER_MAX_ACK_PENDING, value: {{ $broker.jetstream.maxAckPending | quote }} }
- { name: CONSUMER_RECREATE_BOUND, value: {{ $broker.jetstream.apiPrefix | empty | not | quote }} }
{{- end }}

{{/* Environment of a command that manages streams. */}}
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

{{/* The configured metadata that sidecars need to connect to JetStream and that commands do not have: they get only NATS_URL. */}}
{{- define "common.jetstreamBeyondUrl" -}}
{{- range $name, $_ := merge dict .Values.broker.extraMetadata .Values.broker.extraSecretMetadata -}}
{{- if has (lower $name) (list "domain" "apiprefix" "jwt" "seedkey" "token" "tls_client_cert" "tls_client_key") }}{{ $name }} {{ end -}}
{{- end -}}
{{- end }}

{{/*
Brings the database up to date before anything else of the release changes: as the owner of the database, without a sidecar (which would
keep the Job from ending). Of several at once one works and the others wait. Takes: root, app, program.
*/}}
{{- define "common.migrations" -}}
{{- $migrations := .root.Values.migrations -}}
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
      annotations: { dapr.io/enabled: "false" }
    spec:
      restartPolicy: Never
      {{- include "common.podSecurity" .root | nindent 6 }}
      containers:
        - name: migrations
          {{- include "common.container" (dict "root" .root "resources" $migrations.resources) | nindent 10 }}
          args: [{{ .program }}]
          env:
            {{- include "common.databaseEnv" (dict "root" .root "role" "owner") | nindent 12 }}
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
          annotations: { dapr.io/enabled: "false" }
        spec:
          restartPolicy: Never
          {{- include "common.podSecurity" .root | nindent 10 }}
          containers:
            - name: housekeeping
              {{- include "common.container" (dict "root" .root "resources" $housekeeping.resources) | nindent 14 }}
              args: [services/relay/housekeeping.ts]
              env:
                {{- include "common.databaseEnv" (dict "root" .root "role" "housekeeping") | nindent 16 }}
                - { name: KEEP_PUBLISHED_DAYS, value: {{ $housekeeping.keepPublishedDays | quote }} }
{{- end }}
{{- end }}

{{/*
Creates the topics' streams at JetStream, or gives them today's limits; with credentials that may. What it changes it tells, and Helm shows
that: the Job is gone when it has succeeded. Takes: root, app, topics.
*/}}
{{- define "common.streams" -}}
{{- $broker := .root.Values.broker -}}
{{- $streams := $broker.jetstream.streams -}}
{{- if and (eq $broker.kind "jetstream") $streams.create }}
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
  activeDeadlineSeconds: 120
  template:
    metadata:
      labels: {{ include "common.labels" (dict "root" .root "app" (printf "%s-streams" .app)) | nindent 8 }}
      annotations: { dapr.io/enabled: "false" }
    spec:
      restartPolicy: Never
      {{- include "common.podSecurity" .root | nindent 6 }}
      containers:
        - name: streams
          {{- include "common.container" (dict "root" .root "resources" $streams.resources) | nindent 10 }}
          args: {{ concat (list "services/streams/main.ts") .topics | toJson }}
          env:
            {{- include "common.secretEnv" (dict "name" "NATS_URL" "secret" ($streams.existingSecret | default $broker.existingSecret) "key" $broker.keys.url) | nindent 12 }}
            - { name: STREAM_REPLICAS, value: {{ $streams.replicas | quote }} }
            - { name: STREAM_MAX_MIB, value: {{ $streams.maxMiB | quote }} }
            - { name: STREAM_MAX_AGE_HOURS, value: {{ $streams.maxAgeHours | quote }} }
{{- end }}
{{- end }}
